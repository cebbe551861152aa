package org.mixedgpu.cake.spark;

import java.io.Serializable;
import java.util.Iterator;
import org.apache.spark.Partitioner;
import org.apache.spark.api.java.function.Function2;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.sql.Row;
import org.mixedgpu.cake.plan.PrefillPlan;
import scala.Tuple2;

/** A plan as arrays, to be sent to the executors: 16 bytes for each row, 4 for each partition. */
final class Places implements Serializable {
  private static final long serialVersionUID = 1L;

  private final int tasks;
  private final int[] task;
  private final int[] position;
  private final int[] shared;
  private final int[] owned;
  private final int[] first;

  /**
   * @param first by partition of the input, the number of its first row in the plan; at the end the
   *     number of rows
   */
  Places(PrefillPlan plan, int[] first) {
    this.first = first;
    tasks = Math.max(1, plan.tasks());
    int rows = plan.prompts();
    task = new int[rows];
    position = new int[rows];
    shared = new int[rows];
    owned = new int[rows];
    for (int i = 0; i < rows; i++) {
      PrefillPlan.Assignment a = plan.assignment(i);
      task[i] = a.task();
      position[i] = a.position();
      shared[i] = a.sharedChunks();
      owned[i] = a.firstOwned();
    }
  }

  /** Gives each row of a partition its key: task in the upper half, position in the lower. */
  static final class Keys
      implements Function2<Integer, Iterator<Row>, Iterator<Tuple2<Long, PlannedRow>>> {
    private static final long serialVersionUID = 1L;

    private final Broadcast<Places> places;

    Keys(Broadcast<Places> places) {
      this.places = places;
    }

    @Override
    public Iterator<Tuple2<Long, PlannedRow>> call(Integer partition, Iterator<Row> rows) {
      Places p = places.value();
      return new Iterator<>() {
        private long number = p.first[partition];

        @Override
        public boolean hasNext() {
          return rows.hasNext();
        }

        @Override
        public Tuple2<Long, PlannedRow> next() {
          return p.place(rows.next(), number++, p.first[partition + 1]);
        }
      };
    }
  }

  /** A Dataset that gives more rows the second time it is read: right answers, no plan. */
  private Tuple2<Long, PlannedRow> place(Row row, long number, int end) {
    if (number >= end) {
      return new Tuple2<>((number % tasks) << 32 | 0xffff_ffffL, new PlannedRow(row, 0, 0));
    }
    int i = (int) number;
    return new Tuple2<>(
        (long) task[i] << 32 | position[i], new PlannedRow(row, shared[i], owned[i]));
  }

  /** Sends each key to its task. */
  static final class ByTask extends Partitioner {
    private static final long serialVersionUID = 1L;

    private final int tasks;

    ByTask(int tasks) {
      this.tasks = tasks;
    }

    @Override
    public int numPartitions() {
      return tasks;
    }

    @Override
    public int getPartition(Object key) {
      return (int) ((Long) key >>> 32);
    }

    @Override
    public boolean equals(Object other) {
      return other instanceof ByTask o && o.tasks == tasks;
    }

    @Override
    public int hashCode() {
      return tasks;
    }
  }

  int tasks() {
    return tasks;
  }
}

package org.mixedgpu.cake.spark;

import java.io.Serializable;
import org.apache.spark.Partitioner;
import org.apache.spark.api.java.function.PairFunction;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.sql.Row;
import org.mixedgpu.cake.plan.PrefillPlan;
import scala.Tuple2;

/** A plan as arrays, to be sent to the executors: 16 bytes for each row. */
final class Places implements Serializable {
  private static final long serialVersionUID = 1L;

  private final int tasks;
  private final int[] task;
  private final int[] position;
  private final int[] shared;
  private final int[] owned;

  Places(PrefillPlan plan) {
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

  /** Gives each row its key: task in the upper half, position in the lower. */
  static final class Keys implements PairFunction<Tuple2<Row, Long>, Long, PlannedRow> {
    private static final long serialVersionUID = 1L;

    private final Broadcast<Places> places;

    Keys(Broadcast<Places> places) {
      this.places = places;
    }

    @Override
    public Tuple2<Long, PlannedRow> call(Tuple2<Row, Long> numbered) {
      Places p = places.value();
      // A Dataset that gives more rows the second time it is read: right answers, no plan.
      if (numbered._2() >= p.task.length) {
        return new Tuple2<>(
            (long) (numbered._2() % p.tasks) << 32 | 0xffff_ffffL,
            new PlannedRow(numbered._1(), 0, 0));
      }
      int row = Math.toIntExact(numbered._2());
      return new Tuple2<>(
          (long) p.task[row] << 32 | p.position[row],
          new PlannedRow(numbered._1(), p.shared[row], p.owned[row]));
    }
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

package org.mixedgpu.cake.spark;

import java.util.Iterator;
import java.util.Optional;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.function.FlatMapFunction;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.util.TaskCompletionListener;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.cake.prefill.Clock;
import org.mixedgpu.cake.prefill.IoRate;
import org.mixedgpu.cake.prefill.PrefillMode;
import org.mixedgpu.cake.prefill.PrefillOptions;
import org.mixedgpu.cake.prefill.PrefillResult;
import org.mixedgpu.cake.prefill.PrefillRunner;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.CacheSnapshot;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.nn.tokenizer.Tokenizer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import scala.Tuple2;

/** One task: prefills its rows in the plan's order and writes what the plan gave it to write. */
final class PrefillTask implements FlatMapFunction<Iterator<Tuple2<Long, PlannedRow>>, Row> {
  private static final long serialVersionUID = 1L;
  private static final Logger LOG = LoggerFactory.getLogger(PrefillTask.class);

  private final PrefillFacts facts;
  private final int column;
  private final Broadcast<CacheSnapshot> snapshot;
  private final Meters meters;

  PrefillTask(PrefillFacts facts, int column, Broadcast<CacheSnapshot> snapshot, Meters meters) {
    this.facts = facts;
    this.column = column;
    this.snapshot = snapshot;
    this.meters = meters;
  }

  @Override
  public Iterator<Row> call(Iterator<Tuple2<Long, PlannedRow>> rows) {
    if (!rows.hasNext()) {
      return java.util.Collections.emptyIterator();
    }
    Work work = new Work();
    // Also when the rows are not read to their end, as under a limit.
    TaskContext.get()
        .addTaskCompletionListener(
            (TaskCompletionListener)
                context -> {
                  try (work) {
                    if (!context.isFailed() && !context.isInterrupted()) {
                      work.finish();
                    }
                  }
                });
    work.open();
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        boolean more = rows.hasNext();
        if (!more) {
          // At once: after coalesce() a task has many partitions, one after the other.
          try (work) {
            work.finish();
          }
        }
        return more;
      }

      @Override
      public Row next() {
        return work.answer(rows.next()._2());
      }
    };
  }

  /** What a task has open. */
  private final class Work implements AutoCloseable {
    private Tokenizer tokenizer;
    private PromptReader reader;
    private SharedModel.Lease model;
    private BundleStore store;
    private PrefillRunner runner;
    private ChunkWriter writer;
    private PrefillRows output;
    private boolean closed;

    void open() {
      tokenizer = facts.openTokenizer();
      reader = facts.reader(tokenizer);
      model = SharedModel.lease(facts);
      store = facts.store();
      runner =
          new PrefillRunner(
              model.model(),
              store,
              snapshot.value(),
              new PrefillOptions(
                  facts.cached() ? facts.mode() : PrefillMode.COMPUTE,
                  facts.capacity(),
                  facts.readsInFlight(),
                  new IoRate(facts.ioBytesPerSecond(), Clock.SYSTEM)));
      if (facts.cached() && !facts.write().equals("none")) {
        writer = store.writer();
      }
      output = new PrefillRows(facts, tokenizer, model.model().backend().name());
    }

    Row answer(PlannedRow planned) {
      Row row = planned.row();
      Object[] values = new Object[row.length() + 1];
      for (int i = 0; i < row.length(); i++) {
        values[i] = row.get(i);
      }
      values[row.length()] = prefill(planned, row.get(column));
      return RowFactory.create(values);
    }

    private Row prefill(PlannedRow planned, Object cell) {
      PromptReader.Prompt prompt = reader.read(cell);
      if (prompt.ids() == null) {
        meters.badRows().add(1);
        return output.failed(Fault.BAD_INPUT, prompt.problem());
      }
      Optional<Row> answer;
      try {
        PrefillResult result = runner.run(prompt.ids());
        meters.computed().add(result.computed());
        meters.loaded().add(result.loaded());
        meters.reused().add(result.reused());
        meters.failedLoads().add(result.problems().size());
        answer = output.answered(result, runner.score(facts.labels()));
      } catch (MixedGpuException e) {
        // A row's own fault; anything else would be the same for every other row.
        if (e.fault() != Fault.BAD_INPUT) {
          throw e;
        }
        meters.badRows().add(1);
        return output.failed(e.fault(), e.getMessage());
      }
      if (answer.isEmpty()) {
        meters.badRows().add(1);
        return output.notFinite();
      }
      write(planned);
      return answer.get();
    }

    private void write(PlannedRow planned) {
      if (writer == null) {
        return;
      }
      boolean all = facts.write().equals("all");
      int to = all ? Integer.MAX_VALUE : planned.sharedChunks();
      try {
        runner.write(writer, planned.firstOwned(), to);
      } catch (RuntimeException e) {
        giveUpWriting(e);
      }
    }

    /** The rows are answered: a full disk costs the next run time, not this one its result. */
    private void giveUpWriting(RuntimeException e) {
      LOG.warn("This task writes no more to {}: {}", facts.cachePath(), e.toString());
      ChunkWriter failed = writer;
      writer = null;
      try {
        failed.close();
      } catch (RuntimeException closing) {
        LOG.debug("Discarding a bundle failed", closing);
      }
    }

    void finish() {
      if (writer == null) {
        return;
      }
      try {
        writer.finish();
        meters.writtenChunks().add(writer.chunks());
        meters.writtenBytes().add(writer.bytes());
        writer.close();
        writer = null;
      } catch (RuntimeException e) {
        giveUpWriting(e);
      }
    }

    @Override
    public void close() {
      if (closed) {
        return;
      }
      closed = true;
      // In reverse order; null where opening failed half-way.
      try (Tokenizer first = tokenizer;
          SharedModel.Lease second = model;
          BundleStore third = store;
          PrefillRunner fourth = runner;
          ChunkWriter last = writer) {
        LOG.debug("Task ends");
      }
    }
  }
}

package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.StampCount;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.exchange.InProcessExchange;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.tensor.Tensor;

/** Runs all ranks of a job as threads of this process. */
public final class ZebraGang {
  public static final long SEED = 11;
  static final ExchangeLimits LIMITS = new ExchangeLimits(1 << 20, Duration.ofSeconds(30));

  /** What one rank ended with: a report and its weights, or a failure. */
  public record Outcome(MemberReport report, Map<String, float[]> weights, Throwable failure) {}

  /** Changes what a rank does, to make it fail. */
  public interface Fault {
    default TrainingBackend backend(int rank, TrainingBackend backend) {
      return backend;
    }

    default Exchange exchange(int rank, Exchange exchange) {
      return exchange;
    }

    default List<? extends Exchange> connect(List<TrainingBackend> backends, ExchangeLimits limits)
        throws Exception {
      return InProcessExchange.group(backends, limits);
    }

    default void loaded(TrainingBackend backend, Parameters part) {}

    default void beforeStep(int rank, long step) {}

    default ExchangeLimits limits() {
      return LIMITS;
    }
  }

  public static final Fault NO_FAULT = new Fault() {};

  private ZebraGang() {}

  /** Random tokens that repeat a little, so that there is something to learn. */
  public static BatchSource tokens(int sequence) {
    return (step, first, count) -> {
      int[][] sequences = new int[count][sequence];
      for (int s = 0; s < count; s++) {
        Random random = new Random(1000 * step + first + s);
        int phase = random.nextInt(ZebraModels.VOCAB);
        for (int t = 0; t < sequence; t++) {
          sequences[s][t] =
              random.nextInt(4) == 0
                  ? random.nextInt(ZebraModels.VOCAB)
                  : (phase + 3 * t) % ZebraModels.VOCAB;
        }
      }
      return sequences;
    };
  }

  public static List<Outcome> run(ZebraJob job, BatchSource batches) throws Exception {
    return run(job, batches, ModelParts.random(SEED), NO_FAULT);
  }

  public static List<Outcome> run(ZebraJob job, BatchSource batches, ModelParts parts, Fault fault)
      throws Exception {
    int ranks = job.plan().ranks();
    List<TrainingBackend> devices = new ArrayList<>();
    List<TrainingBackend> backends = new ArrayList<>();
    StampCount stamps = new StampCount();
    for (int rank = 0; rank < ranks; rank++) {
      TrainingBackend cpu = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
      devices.add(fault.backend(rank, cpu));
      backends.add(stamps.over(devices.get(rank)));
    }
    // NCCL must see that a backend is a GPU's.
    List<? extends Exchange> exchanges = fault.connect(devices, fault.limits());
    ExecutorService threads = Executors.newFixedThreadPool(ranks);
    boolean ended = false;
    try {
      List<Future<Outcome>> running = new ArrayList<>();
      for (int rank = 0; rank < ranks; rank++) {
        int of = rank;
        running.add(
            threads.submit(
                () ->
                    member(
                        job,
                        of,
                        backends.get(of),
                        fault.exchange(of, exchanges.get(of)),
                        batches,
                        parts,
                        fault)));
      }
      List<Outcome> outcomes = new ArrayList<>();
      for (Future<Outcome> each : running) {
        outcomes.add(outcome(each));
      }
      ended = true;
      return outcomes;
    } finally {
      if (!ended) {
        // Members may still run, on tensors of these backends.
        exchanges.get(0).abort("the test is over");
      }
      threads.shutdown();
      Check.that(threads.awaitTermination(60, TimeUnit.SECONDS), "A member does not end");
      exchanges.forEach(Exchange::close);
      for (TrainingBackend backend : backends) {
        // Throws if a member has left a tensor open.
        backend.close();
      }
      Check.that(stamps.open() == 0, "%d stamps were not given back", stamps.open());
    }
  }

  private static Outcome outcome(Future<Outcome> each) throws Exception {
    try {
      return each.get(100, TimeUnit.SECONDS);
    } catch (ExecutionException e) {
      return new Outcome(null, Map.of(), e.getCause());
    }
  }

  private static Outcome member(
      ZebraJob job,
      int rank,
      TrainingBackend backend,
      Exchange exchange,
      BatchSource batches,
      ModelParts parts,
      Fault fault) {
    Map<String, float[]> weights = new TreeMap<>();
    ModelParts watched =
        new ModelParts() {
          @Override
          public void load(Parameters part) {
            parts.load(part);
            fault.loaded(backend, part);
            fault.beforeStep(rank, 1);
          }

          @Override
          public void save(int of, Parameters part) {
            weights.putAll(snapshot(backend, part));
            parts.save(of, part);
          }
        };
    ZebraMember member =
        new ZebraMember(
            job,
            backend,
            exchange,
            batches,
            watched,
            report -> fault.beforeStep(rank, report.step() + 1));
    return new Outcome(member.run(), weights, null);
  }

  /** What one process ends with on the same batches; closes the backend. */
  static StepReport alone(
      TrainingBackend backend,
      ZebraJob job,
      int sequence,
      int steps,
      Map<String, float[]> weights) {
    TrainerConfig config =
        new TrainerConfig(
            job.plan().batchSequences(),
            sequence,
            job.plan().slices(),
            job.optimizer(),
            job.auxKind());
    StepReport report = null;
    try (TrainingBackend b = backend;
        Parameters parameters = Parameters.allocate(b, job.model(), Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(b, parameters, config)) {
      parameters.initialize(SEED);
      for (int step = 1; step <= steps; step++) {
        report = trainer.step(tokens(sequence).sequences(step, 0, config.batch()));
      }
      weights.putAll(snapshot(b, parameters));
    }
    return report;
  }

  /** The last step, of which all ranks tell the same. */
  static StepReport succeeded(List<Outcome> outcomes) {
    for (Outcome outcome : outcomes) {
      if (outcome.failure() != null) {
        throw new AssertionError("A rank failed", outcome.failure());
      }
      assertThat(outcome.report().last()).isEqualTo(outcomes.get(0).report().last());
    }
    return outcomes.get(0).report().last();
  }

  /** The weights by name; experts each under their own. */
  static Map<String, float[]> snapshot(TrainingBackend backend, Parameters part) {
    Map<String, float[]> weights = new TreeMap<>();
    for (Parameters.Entry entry : part.entries()) {
      Tensor tensor = entry.exact();
      if (!entry.name().contains(".mlp.experts.")) {
        weights.put(entry.name(), read(backend, tensor));
        continue;
      }
      int layer = Integer.parseInt(entry.name().split("\\.")[2]);
      int[] ids = part.part().experts(part.config(), layer);
      for (int i = 0; i < ids.length; i++) {
        weights.put(entry.name() + "[" + ids[i] + "]", read(backend, tensor.rows(i, 1)));
      }
    }
    return weights;
  }

  private static float[] read(TrainingBackend backend, Tensor tensor) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    backend.read(bytes, tensor);
    float[] values = new float[(int) tensor.shape().elements()];
    bytes.clear();
    bytes.asFloatBuffer().get(values);
    return values;
  }
}

package org.mixedgpu.hetermoe.train.bench;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.backend.bench.Results;
import org.mixedgpu.backend.bench.Samples;
import org.mixedgpu.hetermoe.train.SingleProcessTrainer;
import org.mixedgpu.hetermoe.train.TrainerConfig;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;

/**
 * How much of the exchange zebra parallelism hides between two GPUs: attention of the HeterMoE
 * paper's D1 or W1 on the first, experts on the second, a process each, rows through NCCL.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.executable=java -Dexec.classpathScope=test \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *     -Dbench.out=src/test/results/cuda -Dbench.commit=$(git rev-parse --short HEAD) -cp %classpath \
 *     org.mixedgpu.hetermoe.train.bench.CudaZebraBenchmark D1 8x8192:4,16x8192:8,32x8192:16"
 * </pre>
 *
 * Arguments: D1, W1 or {@code small}; batches as sequences x tokens, each with its numbers of
 * micro-batches. Longer sequences of as many tokens make attention longer and leave experts as they
 * are: so the sides are balanced. {@code -Dmixedgpu.test.backend=cpu} with {@code small
 * 4x64:1+2,2x128:1+2} tries the benchmark without GPUs; rows then pass through the network. {@code
 * -Dbench.steps}, default 8, of which 2 warm up. NCCL_MAX_CTAS in the environment changes how many
 * multiprocessors a message may keep.
 *
 * <p>A side's <em>pure</em> compute time is that of its compute lane's tasks, head and update
 * included, in the same run if the exchange takes no time ({@link RowlessExchange}): the GPU is as
 * busy, and so as warm, and has no message beside its kernels. The figure is the time of a step by
 * the longer side's pure time, where the two are within 10 % of each other. Beside it:
 *
 * <ul>
 *   <li>each side's pure time and busy share, and the ratio of both sides' operations;
 *   <li>what the exchange exposes: the step less the step of the run without it, which shows what
 *       the order of the tasks costs by itself;
 *   <li>what the simulator predicts, from these times and the messages of one micro-batch alone;
 *   <li>each side's time in a run of one micro-batch alone, where computing and exchange take
 *       turns, times the number of micro-batches: a GPU that waits half of the time clocks higher;
 *   <li>bytes of a step, and of a message alone the time from its rows being ready to their
 *       arrival, the header's way included.
 * </ul>
 *
 * <p>Then, for the setting chosen: the expert's GPU emulated as an older one, the network instead
 * of NCCL, and the whole model on one GPU.
 */
public final class CudaZebraBenchmark {
  private static final int STEPS = Integer.getInteger("bench.steps", 8);

  /** Sides whose pure times differ by less are balanced. */
  private static final double BALANCED = 1.1;

  /** More do not fit into one GPU's memory at once. */
  private static final int TOKENS_AT_ONCE = 32768;

  private final ZebraPair pair;
  private final Results results;
  private final Map<Known, ZebraTimes> known = new HashMap<>();
  private ZebraRun chosen;
  private double chosenScore = Double.MAX_VALUE;

  private CudaZebraBenchmark(ZebraPair pair, Results results) {
    this.pair = pair;
    this.results = results;
  }

  public static void main(String[] args) throws Exception {
    try (ZebraPair pair = new ZebraPair()) {
      Map<String, String> machine = new HashMap<>();
      machine.put("attention", pair.backend().name());
      machine.put("experts", pair.expertBackend());
      Results results =
          new Results(
              "zebra-" + args[0].toLowerCase(Locale.ROOT),
              "CudaZebraBenchmark " + String.join(" ", args),
              machine,
              "compared with");
      new CudaZebraBenchmark(pair, results).run(settings(args[0], args[1]));
    }
  }

  private static List<ZebraRun> settings(String model, String text) {
    List<ZebraRun> settings = new ArrayList<>();
    for (String batch : text.split(",")) {
      String[] parts = batch.split("[x:]");
      int sequences = Integer.parseInt(parts[0]);
      for (String microBatches : parts[2].split("\\+")) {
        int r = Integer.parseInt(microBatches);
        if (sequences % r != 0) {
          throw new IllegalArgumentException(
              sequences + " sequences can't be cut into " + r + " equal micro-batches");
        }
        settings.add(new ZebraRun(model, sequences, Integer.parseInt(parts[1]), r, STEPS, false));
      }
    }
    return settings;
  }

  private void run(List<ZebraRun> settings) throws InterruptedException {
    // All without exchange first: another way of the rows is another connection.
    each(each(settings, this::pure), this::measure);
    if (chosen == null) {
      return;
    }
    System.out.println("chosen: " + chosen.name());
    each(List.of(chosen), this::onOneGpu);
    each(List.of(chosen), this::overTheNetwork);
    each(List.of(chosen), this::emulated);
  }

  private interface Measurement {
    void of(ZebraRun setting) throws InterruptedException;
  }

  /** Returns those that could be measured; the others are in the results as failed. */
  private List<ZebraRun> each(List<ZebraRun> settings, Measurement measurement)
      throws InterruptedException {
    List<ZebraRun> done = new ArrayList<>();
    for (ZebraRun setting : settings) {
      try {
        measurement.of(setting);
        done.add(setting);
      } catch (RuntimeException e) {
        results.failed(setting.name(), e);
      }
    }
    return done;
  }

  private record Known(ZebraRun run, Rows way) {}

  /** The times of a run, measured once. */
  private ZebraTimes times(ZebraRun run, Rows way) throws InterruptedException {
    Known key = new Known(run, way);
    ZebraTimes times = known.get(key);
    if (times == null) {
      times = pair.run(run, way);
      known.put(key, times);
    }
    return times;
  }

  /** If the exchange takes no time. */
  private ZebraTimes pure(ZebraRun setting) throws InterruptedException {
    return times(setting, Rows.NONE);
  }

  private void measure(ZebraRun setting) throws InterruptedException {
    ZebraTimes pure = pure(setting);
    ZebraTimes times = times(setting, Rows.NCCL);
    row(setting);
    double balance =
        Math.max(pure.compute(0), pure.compute(1)) / Math.min(pure.compute(0), pure.compute(1));
    double ratio = times.stepMillis() / Math.max(pure.compute(0), pure.compute(1));
    // Balanced ones first, and among them the best; else what is nearest to balance. One
    // micro-batch has nothing to overlap with.
    double score = balance <= BALANCED ? ratio : 1000 * balance;
    if (setting.microBatches() > 1 && score < chosenScore) {
      chosenScore = score;
      chosen = setting;
    }
  }

  private void row(ZebraRun setting) throws InterruptedException {
    ZebraTimes pure = pure(setting);
    ZebraTimes times = times(setting, Rows.NCCL);
    ZebraTimes alone = times(setting.oneMicroBatch(), Rows.NCCL);
    int r = setting.microBatches();
    double step = times.stepMillis();
    String notes =
        String.format(
            Locale.ROOT,
            "pure: attention %.1f, experts %.1f ms (%.2f; %.2f of operations); updates %.1f, %.1f;"
                + " busy %.0f %%, %.0f %%; without exchange %.1f ms: exposed %.1f ms; predicted"
                + " %.1f ms; micro-batches alone %.1f, %.1f ms; %.2f GB a step, %.0f GB/s; a message"
                + " alone %.1f MB in %.2f ms, %.0f GB/s; spread %.1f %%",
            pure.compute(0),
            pure.compute(1),
            pure.compute(0) / pure.compute(1),
            setting.operationsRatio(),
            pure.update(0),
            pure.update(1),
            100 * times.last().attentionBusyShare(),
            100 * times.last().expertBusyShare(),
            pure.stepMillis(),
            step - pure.stepMillis(),
            pure.predict(setting.job().plan(), alone),
            r * (alone.compute(0) - alone.update(0)) + alone.update(0),
            r * (alone.compute(1) - alone.update(1)) + alone.update(1),
            times.last().bytesSent() / 1e9,
            times.last().bytesSent() / 1e6 / step,
            alone.bytesOfMessage() / 1e6,
            alone.messageMillis(),
            alone.bytesOfMessage() / 1e6 / alone.messageMillis(),
            100 * times.steps().spread());
    results.size(
        setting.name() + ", step by the longer side's pure time",
        step,
        Math.max(pure.compute(0), pure.compute(1)),
        "ms",
        notes);
  }

  private void onOneGpu(ZebraRun setting) throws InterruptedException {
    int batch = setting.sequences();
    int slices = 1;
    while (batch % slices != 0
        || (long) batch / slices * setting.tokens() > TOKENS_AT_ONCE && slices < batch) {
      slices++;
    }
    TrainerConfig config =
        new TrainerConfig(batch, setting.tokens(), slices, ZebraRun.adamW(), AuxLoss.Kind.NONE);
    int[][] ids = setting.ids();
    TrainingBackend backend = pair.backend();
    double[] seconds = new double[3];
    try (Parameters parameters = Parameters.allocate(backend, setting.config(), Part.all())) {
      try (DeviceData data = new DeviceData(backend)) {
        data.fill(parameters);
      }
      try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config)) {
        trainer.step(ids);
        for (int i = 0; i < seconds.length; i++) {
          seconds[i] = trainer.step(ids).seconds();
        }
      }
    }
    speed(setting, "two GPUs against one in " + slices + " slices", new Samples(seconds));
  }

  private void overTheNetwork(ZebraRun setting) throws InterruptedException {
    ZebraTimes network = pair.run(setting.withSteps(4), Rows.NETWORK);
    speed(setting, "NCCL against the network", network.steps());
  }

  private void speed(ZebraRun setting, String what, Samples theirs) throws InterruptedException {
    ZebraTimes ours = times(setting, Rows.NCCL);
    results.speed(
        setting.name() + ", " + what,
        ours.steps(),
        theirs,
        (double) setting.sequences() * setting.tokens(),
        "tokens/s",
        String.format(Locale.ROOT, "%.1f and %.1f ms", ours.stepMillis(), 1e3 * theirs.median()));
  }

  private void emulated(ZebraRun setting) throws InterruptedException {
    ZebraRun slower = setting.emulate();
    pure(slower);
    row(slower);
  }
}

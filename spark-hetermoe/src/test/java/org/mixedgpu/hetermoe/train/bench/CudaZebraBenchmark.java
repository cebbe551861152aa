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
import org.mixedgpu.hetermoe.plan.TrainingPlan;
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
 * -Dbench.steps}, default 5, of which 2 warm up. NCCL_MAX_CTAS in the environment changes how many
 * multiprocessors a message may keep.
 *
 * <p>A side's <em>pure</em> compute time is what its GPU would need for a step if it never waited
 * and had no NCCL beside it, to which multiprocessors are left: the sum of the times of its compute
 * lane's tasks, head included, in a run of one micro-batch of the same shape alone, whose rows pass
 * through the network, and where computing and exchange take turns; times the number of
 * micro-batches; and one update. (Gradients of a step's first micro-batch may be written and the
 * others' added, so that this is a little too short for several, and the ratio too high.) The
 * figure is the time of a step by the longer side's pure time, where the two are within 10 % of
 * each other. Beside it:
 *
 * <ul>
 *   <li>each side's pure time and busy share, and the ratio of both sides' operations;
 *   <li>what the simulator predicts from the times of one micro-batch over NCCL;
 *   <li>what the exchange exposes: the step less what the simulator predicts from the pure times if
 *       messages took no time, which leaves out what the order of the tasks costs by itself;
 *   <li>bytes of a step, and of a message alone the time from its rows being ready to their
 *       arrival, the header's way included.
 * </ul>
 *
 * <p>Then, for the setting chosen: the expert's GPU emulated as an older one, the network instead
 * of NCCL, and the whole model on one GPU.
 */
public final class CudaZebraBenchmark {
  private static final int STEPS = Integer.getInteger("bench.steps", 5);

  /** Sides whose pure times differ by less are balanced. */
  private static final double BALANCED = 1.1;

  /** More do not fit into one GPU's memory at once. */
  private static final int TOKENS_AT_ONCE = 32768;

  private final ZebraPair pair;
  private final Results results;
  private final Map<ZebraRun, ZebraTimes> pure = new HashMap<>();
  private final Map<ZebraRun, ZebraTimes> alone = new HashMap<>();
  private ZebraRun chosen;
  private ZebraTimes chosenTimes;
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
    for (ZebraRun setting : settings) {
      // All first: another way of the rows is another connection.
      times(setting, pure, false);
    }
    for (ZebraRun setting : settings) {
      try {
        measure(setting);
      } catch (RuntimeException e) {
        results.failed(setting.name(), e);
      }
    }
    if (chosen == null) {
      return;
    }
    System.out.println("chosen: " + chosen.name());
    row("chosen: " + chosen.name(), chosen, chosenTimes);
    List<Extra> extras = List.of(this::onOneGpu, this::overTheNetwork, this::emulated);
    for (Extra extra : extras) {
      try {
        extra.measure();
      } catch (RuntimeException e) {
        results.failed("beside " + chosen.name(), e);
      }
    }
  }

  private interface Extra {
    void measure() throws InterruptedException;
  }

  /** The times of one micro-batch of this run, measured once. */
  private ZebraTimes times(ZebraRun setting, Map<ZebraRun, ZebraTimes> known, boolean overNccl)
      throws InterruptedException {
    ZebraRun one = setting.oneMicroBatch();
    ZebraTimes times = known.get(one);
    if (times == null) {
      times = pair.run(one, overNccl);
      known.put(one, times);
    }
    return times;
  }

  private void measure(ZebraRun setting) throws InterruptedException {
    ZebraTimes one = times(setting, pure, false);
    ZebraTimes times =
        setting.microBatches() == 1 ? times(setting, alone, true) : pair.run(setting, true);
    row(setting.name(), setting, times);
    double attention = one.pure(0, setting.microBatches());
    double experts = one.pure(1, setting.microBatches());
    double balance = Math.max(attention, experts) / Math.min(attention, experts);
    double ratio = times.stepMillis() / Math.max(attention, experts);
    // Balanced ones first, and among them the best; else what is nearest to balance. One
    // micro-batch has nothing to overlap with.
    double score = balance <= BALANCED ? ratio : 1000 * balance;
    if (setting.microBatches() > 1 && score < chosenScore) {
      chosenScore = score;
      chosen = setting;
      chosenTimes = times;
    }
  }

  private void row(String name, ZebraRun setting, ZebraTimes times) throws InterruptedException {
    ZebraTimes one = times(setting, pure, false);
    ZebraTimes overNccl = times(setting, alone, true);
    int r = setting.microBatches();
    double longer = Math.max(one.pure(0, r), one.pure(1, r));
    TrainingPlan plan = setting.job().plan();
    double step = times.stepMillis();
    double withoutExchange = one.predict(plan, false);
    String notes =
        String.format(
            Locale.ROOT,
            "pure: attention %.1f, experts %.1f ms (%.2f; %.2f of operations); updates %.1f, %.1f;"
                + " busy %.0f %%, %.0f %%; predicted %.1f ms; exposed %.1f ms; %.2f GB a step,"
                + " %.0f GB/s; a message alone %.1f MB in %.2f ms, %.0f GB/s; spread %.1f %%",
            one.pure(0, r),
            one.pure(1, r),
            one.pure(0, r) / one.pure(1, r),
            setting.operationsRatio(),
            one.update(0),
            one.update(1),
            100 * times.last().attentionBusyShare(),
            100 * times.last().expertBusyShare(),
            overNccl.predict(plan, true),
            step - withoutExchange,
            times.last().bytesSent() / 1e9,
            times.last().bytesSent() / 1e6 / step,
            overNccl.bytesOfMessage() / 1e6,
            overNccl.messageMillis(),
            overNccl.bytesOfMessage() / 1e6 / overNccl.messageMillis(),
            100 * times.steps().spread());
    results.size(name + ", step by the longer side's pure time", step, longer, "ms", notes);
  }

  private void onOneGpu() {
    int batch = chosen.sequences();
    int slices = 1;
    while (batch % slices != 0
        || (long) batch / slices * chosen.tokens() > TOKENS_AT_ONCE && slices < batch) {
      slices++;
    }
    TrainerConfig config =
        new TrainerConfig(batch, chosen.tokens(), slices, ZebraRun.adamW(), AuxLoss.Kind.NONE);
    int[][] ids = chosen.ids();
    TrainingBackend backend = pair.backend();
    double[] seconds = new double[3];
    try (Parameters parameters = Parameters.allocate(backend, chosen.config(), Part.all())) {
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
    speed("two GPUs against one in " + slices + " slices", new Samples(seconds));
  }

  private void overTheNetwork() throws InterruptedException {
    ZebraTimes network = pair.run(chosen.withSteps(4), false);
    speed("NCCL against the network", network.steps());
  }

  private void speed(String what, Samples theirs) {
    results.speed(
        chosen.name() + ", " + what,
        chosenTimes.steps(),
        theirs,
        (double) chosen.sequences() * chosen.tokens(),
        "tokens/s",
        String.format(
            Locale.ROOT, "%.1f and %.1f ms", chosenTimes.stepMillis(), 1e3 * theirs.median()));
  }

  private void emulated() throws InterruptedException {
    ZebraRun slower = chosen.emulate();
    times(slower, pure, false);
    row(slower.name(), slower, pair.run(slower, true));
  }
}

package org.mixedgpu.cake.bench;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Random;
import java.util.stream.DoubleStream;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.prefill.Clock;
import org.mixedgpu.cake.prefill.IoRate;
import org.mixedgpu.cake.prefill.Layouts;
import org.mixedgpu.cake.prefill.PrefillMode;
import org.mixedgpu.cake.prefill.PrefillOptions;
import org.mixedgpu.cake.prefill.PrefillResult;
import org.mixedgpu.cake.prefill.PrefillRunner;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.cake.store.MemoryFiles;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;
import org.mixedgpu.tensor.DType;

/**
 * Time to first token of the three modes over links of several speeds, in one run: where loading
 * and computing take the same time, and around it. The modes take turns, a burst of prompts each,
 * one right after the other as in a job, so that a mode pays for what its prompts leave on the
 * link; a ratio is between two bursts of the same turn. Prints medians, cake's speed-up over each
 * baseline as median and range of the turns, and the sum of its reciprocals: 1 is ideal overlap of
 * two uniform costs. Command, from the root, after {@code ./mvnw -DskipTests package}: {@code java
 * $(sed -n 's:.*<jvm\.options>\(.*\)</jvm\.options>.*:\1:p' pom.xml) -cp
 * "spark-cake/target/test-classes:spark-cake/target/classes:$(cat
 * spark-cake/target/launcher.classpath):$(cat spark-cake/target/quickstart.classpath)"
 * org.mixedgpu.cake.bench.ModesBench}; speeds other than these can follow.
 */
public final class ModesBench {
  private static final int CHUNK = 128;
  private static final int PROMPT = 8 * CHUNK + 17;
  private static final int TURNS = 9;
  private static final int BURST = 5;
  private static final double[] SPEEDS = {0.1, 0.25, 0.5, 1, 2, 4, 16};
  private static final PrefillMode[] MODES = PrefillMode.values();

  private ModesBench() {}

  public static void main(String[] args) {
    ModelConfig config =
        new ModelConfig(
            ModelFamily.QWEN3,
            1000,
            256,
            4,
            8,
            4,
            32,
            768,
            1e-6f,
            RopeConfig.unscaled(10000),
            false,
            false,
            false,
            QkNorm.PER_HEAD,
            Collections.nCopies(4, 0),
            false,
            Optional.empty(),
            0.05f,
            4096,
            -1,
            List.of());
    int[][] prompts = {tokens(1), tokens(2)};
    double[] speeds =
        args.length == 0 ? SPEEDS : Arrays.stream(args).mapToDouble(Double::parseDouble).toArray();
    try (Backend backend = Backends.cpu(CpuOptions.allCores());
        Parameters parameters = Parameters.allocate(backend, config, Part.all())) {
      parameters.initialize(1);
      try (DecoderModel model = DecoderModel.open(backend, config, parameters, PROMPT)) {
        KvLayout layout = Layouts.of(config, DType.F32, "0".repeat(64), CHUNK);
        try (BundleStore store = new BundleStore(new MemoryFiles(), "cache", layout, 1L << 30)) {
          measure(model, store, prompts, speeds);
        }
      }
    }
  }

  private static void measure(
      DecoderModel model, BundleStore store, int[][] prompts, double[] speeds) {
    double compute = fill(model, store, prompts);
    KvLayout layout = store.layout();
    double bytes = 8.0 * layout.chunkBytes();
    double balanced = bytes / (compute / 1e3);
    System.out.printf(
        Locale.ROOT,
        "%s; %d tokens, %d KiB of KV per token; computing takes %.1f ms, so loading takes as long"
            + " at %.1f MB/s; %d turns of %d prompts%n",
        model.backend().name(),
        PROMPT,
        2L * layout.layers() * layout.rowBytes() >> 10,
        compute,
        balanced / 1e6,
        TURNS,
        BURST);
    System.out.println(
        "speed  compute    load    cake ms   loaded       over load       over compute    sum");
    for (double speed : speeds) {
      row(model, store, prompts, speed, balanced * speed);
    }
  }

  private static void row(
      DecoderModel model, BundleStore store, int[][] prompts, double speed, double rate) {
    double[][] times = new double[MODES.length][TURNS];
    double[] loaded = new double[TURNS];
    PrefillRunner[] runners = new PrefillRunner[MODES.length];
    try {
      for (int m = 0; m < MODES.length; m++) {
        PrefillOptions options =
            new PrefillOptions(MODES[m], PROMPT, 4, new IoRate(rate, Clock.SYSTEM));
        runners[m] = new PrefillRunner(model, store, store.snapshot(), options);
        burst(runners[m], prompts);
      }
      for (int turn = 0; turn < TURNS; turn++) {
        for (int i = 0; i < MODES.length; i++) {
          int m = (turn + i) % MODES.length;
          double[] result = burst(runners[m], prompts);
          times[m][turn] = result[0];
          loaded[turn] = MODES[m] == PrefillMode.CAKE ? result[1] : loaded[turn];
        }
      }
    } finally {
      for (PrefillRunner runner : runners) {
        if (runner != null) {
          runner.close();
        }
      }
    }
    double[] cake = times[PrefillMode.CAKE.ordinal()];
    double[] load = times[PrefillMode.LOAD.ordinal()];
    double[] compute = times[PrefillMode.COMPUTE.ordinal()];
    double[] sums = new double[TURNS];
    Arrays.setAll(sums, i -> cake[i] / load[i] + cake[i] / compute[i]);
    System.out.printf(
        Locale.ROOT,
        "%5.2f %8.1f %8.1f %8.1f %7.0f%%   %s   %s %6.2f%n",
        speed,
        median(compute),
        median(load),
        median(cake),
        100 * median(loaded),
        ratios(load, cake),
        ratios(compute, cake),
        median(sums));
  }

  private static String ratios(double[] baseline, double[] cake) {
    double[] ratios = new double[TURNS];
    Arrays.setAll(ratios, i -> baseline[i] / cake[i]);
    Arrays.sort(ratios);
    return String.format(
        Locale.ROOT, "%5.2f (%.2f-%.2f)", ratios[TURNS / 2], ratios[0], ratios[TURNS - 1]);
  }

  /** Stores both prompts; the time of computing one undisturbed, in ms. */
  private static double fill(DecoderModel model, BundleStore store, int[][] prompts) {
    try (PrefillRunner runner =
            new PrefillRunner(
                model, store, store.snapshot(), PrefillOptions.of(PrefillMode.COMPUTE, PROMPT));
        ChunkWriter writer = store.writer()) {
      for (int i = 0; i < 10; i++) {
        runner.run(prompts[i % 2]);
        runner.write(writer, 0, 8);
      }
      writer.finish();
      return DoubleStream.generate(() -> burst(runner, prompts)[0])
          .limit(TURNS)
          .min()
          .orElseThrow();
    }
  }

  /** Median TTFT in ms and the share of tokens loaded; the prompts share nothing in memory. */
  private static double[] burst(PrefillRunner runner, int[][] prompts) {
    double[] times = new double[BURST];
    double loaded = 0;
    for (int i = 0; i < BURST; i++) {
      PrefillResult result = runner.run(prompts[i % 2]);
      times[i] = result.ttftNanos() / 1e6;
      loaded += (double) result.loaded() / PROMPT / BURST;
    }
    return new double[] {median(times), loaded};
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }

  private static int[] tokens(long seed) {
    return new Random(seed).ints(PROMPT, 0, 1000).toArray();
  }
}

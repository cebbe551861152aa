package org.mixedgpu.cake.bench;

import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Random;
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
 * and computing take the same time, and around it. Prints medians, cake's speed-up over each
 * baseline, and the sum of its reciprocals: 1 is ideal overlap of two uniform costs. Command, from
 * the root, after {@code ./mvnw -DskipTests package}: {@code java $(sed -n
 * 's:.*<jvm\.options>\(.*\)</jvm\.options>.*:\1:p' pom.xml) -cp
 * "spark-cake/target/test-classes:spark-cake/target/classes:$(cat
 * spark-cake/target/launcher.classpath):$(cat spark-cake/target/quickstart.classpath)"
 * org.mixedgpu.cake.bench.ModesBench}
 */
public final class ModesBench {
  private static final int CHUNK = 128;
  private static final int PROMPT = 8 * CHUNK + 17;
  private static final int REPEATS = 5;
  private static final double[] SPEEDS = {0.25, 0.5, 1, 2, 4, 16};

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
    try (Backend backend = Backends.cpu(CpuOptions.allCores());
        Parameters parameters = Parameters.allocate(backend, config, Part.all())) {
      parameters.initialize(1);
      try (DecoderModel model = DecoderModel.open(backend, config, parameters, PROMPT)) {
        KvLayout layout = Layouts.of(config, DType.F32, "0".repeat(64), CHUNK);
        try (BundleStore store = new BundleStore(new MemoryFiles(), "cache", layout, 1L << 30)) {
          measure(model, store, prompts);
        }
      }
    }
  }

  private static void measure(DecoderModel model, BundleStore store, int[][] prompts) {
    double compute = fill(model, store, prompts);
    KvLayout layout = store.layout();
    double bytes = 8.0 * layout.chunkBytes();
    double balanced = bytes / (compute / 1e3);
    System.out.printf(
        Locale.ROOT,
        "%s; %d tokens, %d KiB of KV per token; computing takes %.1f ms, so loading takes as long"
            + " at %.1f MB/s%n",
        model.backend().name(),
        PROMPT,
        2L * layout.layers() * layout.rowBytes() >> 10,
        compute,
        balanced / 1e6);
    System.out.println("speed  compute    load    cake ms   loaded  over load  over compute   sum");
    for (double speed : SPEEDS) {
      double[] c = run(model, store, prompts, PrefillMode.COMPUTE, balanced * speed);
      double[] l = run(model, store, prompts, PrefillMode.LOAD, balanced * speed);
      double[] k = run(model, store, prompts, PrefillMode.CAKE, balanced * speed);
      System.out.printf(
          Locale.ROOT,
          "%5.2f %8.1f %8.1f %8.1f %7.0f%% %9.2f %12.2f %8.2f%n",
          speed,
          c[0],
          l[0],
          k[0],
          100 * k[1],
          l[0] / k[0],
          c[0] / k[0],
          k[0] / l[0] + k[0] / c[0]);
    }
  }

  /** Stores both prompts; the median time of computing one, in ms. */
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
      return median(runner, prompts)[0];
    }
  }

  private static double[] run(
      DecoderModel model, BundleStore store, int[][] prompts, PrefillMode mode, double rate) {
    PrefillOptions options = new PrefillOptions(mode, PROMPT, 4, new IoRate(rate, Clock.SYSTEM));
    try (PrefillRunner runner = new PrefillRunner(model, store, store.snapshot(), options)) {
      runner.run(prompts[1]);
      return median(runner, prompts);
    }
  }

  /** Median TTFT in ms and the share of tokens loaded; the prompts share nothing in memory. */
  private static double[] median(PrefillRunner runner, int[][] prompts) {
    double[] times = new double[REPEATS];
    double loaded = 0;
    for (int i = 0; i < REPEATS; i++) {
      PrefillResult result = runner.run(prompts[i % 2]);
      times[i] = result.ttftNanos() / 1e6;
      loaded += (double) result.loaded() / PROMPT / REPEATS;
    }
    Arrays.sort(times);
    return new double[] {times[REPEATS / 2], loaded};
  }

  private static int[] tokens(long seed) {
    return new Random(seed).ints(PROMPT, 0, 1000).toArray();
  }
}

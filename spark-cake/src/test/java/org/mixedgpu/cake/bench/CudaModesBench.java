package org.mixedgpu.cake.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Stream;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.backend.bench.Results;
import org.mixedgpu.backend.bench.Samples;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.prefill.Layouts;
import org.mixedgpu.cake.prefill.PrefillMode;
import org.mixedgpu.cake.prefill.PrefillOptions;
import org.mixedgpu.cake.prefill.PrefillResult;
import org.mixedgpu.cake.prefill.PrefillRunner;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.bench.BenchModels;
import org.mixedgpu.tensor.DType;

/**
 * Time to first token of one long prompt on a GPU in the three modes, a model of Llama-3-8B's shape
 * with random BF16 weights, bundles in folders of this host: one in memory ({@code /dev/shm}) and
 * one on a disk, whose pages are dropped from the system's cache before each run where the user may
 * do so. Cake's time is compared with the better of the other two, and with the oracle split: the
 * best cut between computing and loading if both had the disk and the GPU for themselves.
 *
 * <p>Command, from the root, after {@code ./mvnw -DskipTests package}: {@code java $(sed -n
 * 's:.*<jvm\.options>\(.*\)</jvm\.options>.*:\1:p' pom.xml) -XX:MaxDirectMemorySize=8g -cp
 * "spark-cake/target/test-classes:spark-cake/target/classes:$(cat
 * spark-cake/target/launcher.classpath):$(cat spark-cake/target/quickstart.classpath)"
 * -Dbench.out=spark-hetermoe/src/test/results/cuda org.mixedgpu.cake.bench.CudaModesBench
 * /dev/shm/cake,/tmp/cake 32768 1024}
 *
 * <p>Arguments: folders that are made and deleted, tokens of the prompt, tokens of a chunk, and, if
 * wanted, {@code small} for a model that tries the benchmark itself.
 */
public final class CudaModesBench {
  private static final int REPEATS = 5;
  private static final Path DROP_CACHES = Path.of("/proc/sys/vm/drop_caches");

  private final DecoderModel model;
  private final KvLayout layout;
  private final int[][] prompts;

  private CudaModesBench(DecoderModel model, int tokens, int chunk) {
    this.model = model;
    DType type = model.backend().computeType();
    layout = Layouts.of(model.config(), type, "0".repeat(64), chunk);
    // Two of them, so that no run finds its own prompt in the cache of the GPU.
    prompts = new int[2][];
    for (int i = 0; i < 2; i++) {
      prompts[i] = BenchModels.tokens(tokens, model.config().vocab(), i);
    }
  }

  public static void main(String[] args) {
    int tokens = Integer.parseInt(args[1]);
    int chunk = Integer.parseInt(args[2]);
    boolean small = args.length > 3 && args[3].equals("small");
    ModelConfig config = small ? BenchModels.smallLlama() : BenchModels.llama3();
    try (TrainingBackend backend = TestDevice.open(DType.BF16);
        Parameters parameters = Parameters.forInference(backend, config, Part.all())) {
      try (DeviceData data = new DeviceData(backend)) {
        data.fill(parameters);
      }
      Results results =
          new Results(
              "cake",
              "CudaModesBench " + String.join(" ", args),
              Map.of("device", backend.name()),
              "better of load and compute");
      try (DecoderModel model = DecoderModel.open(backend, config, parameters, tokens)) {
        CudaModesBench bench = new CudaModesBench(model, tokens, chunk);
        for (String folder : args[0].split(",")) {
          bench.measure(folder, results);
        }
      }
    }
  }

  private void measure(String folder, Results results) {
    delete(Path.of(folder));
    try (BundleStore store =
        new BundleStore(HadoopFileStore.ofDefaults(), "file:" + folder, layout, 1L << 30)) {
      fill(store);
      Samples compute = run(store, PrefillMode.COMPUTE, prompts);
      Samples half = run(store, PrefillMode.COMPUTE, halves());
      Samples load = run(store, PrefillMode.LOAD, prompts);
      Samples cake = run(store, PrefillMode.CAKE, prompts);
      int tokens = prompts[0].length;
      Samples better = load.median() < compute.median() ? load : compute;
      double gigabytes = 1e-9 * layout.chunkBytes() * loadable();
      results.speed(folder + " compute", compute, null, tokens, "tokens/s", ms(compute));
      results.speed(
          folder + " load",
          load,
          null,
          tokens,
          "tokens/s",
          ms(load)
              + String.format(
                  Locale.ROOT, ", %.2f GB at %.2f GB/s", gigabytes, gigabytes / load.median()));
      double oracle = oracle(compute.median(), half.median(), load.median());
      results.speed(
          folder + " cake",
          cake,
          better,
          tokens,
          "tokens/s",
          ms(cake)
              + String.format(
                  Locale.ROOT,
                  ", oracle %.1f ms, %.2f of it, loaded %.0f %%",
                  1e3 * oracle,
                  cake.median() / oracle,
                  100 * loaded));
    } finally {
      delete(Path.of(folder));
    }
  }

  /** Share of the prompt that the last run loaded. */
  private double loaded;

  private int loadable() {
    return (prompts[0].length - 1) / layout.chunkTokens();
  }

  private static String ms(Samples seconds) {
    return String.format(Locale.ROOT, "%.1f ms", 1e3 * seconds.median());
  }

  private int[][] halves() {
    int half = prompts[0].length / 2;
    return new int[][] {Arrays.copyOf(prompts[0], half), Arrays.copyOf(prompts[1], half)};
  }

  /** Writes both prompts' chunks. */
  private void fill(BundleStore store) {
    PrefillOptions options = PrefillOptions.of(PrefillMode.COMPUTE, prompts[0].length);
    try (PrefillRunner runner = new PrefillRunner(model, store, store.snapshot(), options);
        ChunkWriter writer = store.writer()) {
      for (int[] prompt : prompts) {
        runner.run(prompt);
        runner.write(writer, 0, loadable());
      }
      writer.finish();
    }
  }

  private Samples run(BundleStore store, PrefillMode mode, int[][] texts) {
    double[] seconds = new double[REPEATS];
    PrefillOptions options = PrefillOptions.of(mode, prompts[0].length);
    try (PrefillRunner runner = new PrefillRunner(model, store, store.snapshot(), options)) {
      runner.run(texts[1]);
      for (int i = 0; i < REPEATS; i++) {
        dropCaches();
        PrefillResult result = runner.run(texts[i % 2]);
        if (!result.problems().isEmpty()) {
          throw new IllegalStateException(result.problems().get(0));
        }
        seconds[i] = result.ttftNanos() / 1e9;
        loaded = (double) result.loaded() / result.tokens();
      }
    }
    return new Samples(seconds);
  }

  /**
   * Computing k of n tokens takes a·k + b·k², from the times of all and of half of them; loading is
   * even. The last chunk is always computed, after the others are there.
   */
  private double oracle(double all, double half, double load) {
    int chunks = loadable();
    double n = prompts[0].length / (double) layout.chunkTokens();
    double b = (2 * all - 4 * half) / (n * n);
    double a = all / n - b * n;
    double last = all - (a * chunks + b * chunks * chunks);
    double loading = load - last;
    double best = Double.MAX_VALUE;
    for (int k = 0; k <= chunks; k++) {
      double split = Math.max(a * k + b * k * k, loading * (chunks - k) / chunks);
      best = Math.min(best, split + last);
    }
    return best;
  }

  /** Needs the right to; elsewhere a disk's bundles come out of the system's memory. */
  private static void dropCaches() {
    if (!Files.isWritable(DROP_CACHES)) {
      return;
    }
    try {
      new ProcessBuilder("sync").start().waitFor();
      Files.writeString(DROP_CACHES, "1\n");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static void delete(Path folder) {
    if (!Files.exists(folder)) {
      return;
    }
    try (Stream<Path> found = Files.walk(folder)) {
      List<Path> deepestFirst = found.sorted(Comparator.reverseOrder()).toList();
      for (Path path : deepestFirst) {
        Files.delete(path);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}

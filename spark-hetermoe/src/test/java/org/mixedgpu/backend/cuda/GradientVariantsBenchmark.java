package org.mixedgpu.backend.cuda;

import java.util.Arrays;
import java.util.Map;
import java.util.stream.Collectors;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.backend.bench.Results;
import org.mixedgpu.backend.bench.Samples;
import org.mixedgpu.backend.bench.TorchGpu;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/**
 * The weight gradient of grouped products on Hopper, BF16, cut in every way, beside PyTorch's:
 * which ways {@link GroupedTiles} should choose. Overwriting F32 beside overwriting BF16, adding to
 * F32 beside a product that is then added.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.executable=java -Dexec.classpathScope=test \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *     -cp %classpath org.mixedgpu.backend.cuda.GradientVariantsBenchmark python3 4"
 * </pre>
 *
 * Arguments: a Python with PyTorch, or {@code -} for none; how many turns.
 */
public final class GradientVariantsBenchmark {
  private static final int EXPERTS = 24;
  private static final int SAMPLES = 3;

  private final GradientVariants variants;
  private final TorchGpu python;
  private final Results results;
  private final int rounds;

  private GradientVariantsBenchmark(
      GradientVariants variants, TorchGpu python, Results results, int rounds) {
    this.variants = variants;
    this.python = python;
    this.results = results;
    this.rounds = rounds;
  }

  public static void main(String[] args) {
    TorchGpu python = args[0].equals("-") ? null : new TorchGpu(args[0]);
    CudaOptions options = new CudaOptions("0", DType.BF16, Long.MAX_VALUE, null);
    try (GradientVariants variants = new GradientVariants(new CudaDevice(options))) {
      Results results =
          new Results(
              "gradient-variants",
              "GradientVariantsBenchmark " + String.join(" ", args),
              python == null ? Map.of("device", variants.backend().name()) : python.machine());
      GradientVariantsBenchmark benchmark =
          new GradientVariantsBenchmark(variants, python, results, Integer.parseInt(args[1]));
      for (int rows : new int[] {128, 512, 2048}) {
        int[] counts = new int[EXPERTS];
        Arrays.fill(counts, rows);
        benchmark.all(rows + " rows", counts);
      }
      benchmark.all("skewed", skewed());
    } finally {
      if (python != null) {
        python.close();
      }
    }
  }

  private static int[] skewed() {
    int[] counts = new int[EXPERTS];
    Arrays.fill(counts, 0, 3, 512);
    counts[3] = 6000;
    Arrays.fill(counts, 4, 9, 512);
    counts[9] = 2000;
    counts[10] = 4000;
    Arrays.fill(counts, 11, 23, 20);
    return counts;
  }

  private void all(String name, int[] counts) {
    for (boolean accumulate : new boolean[] {false, true}) {
      String how = accumulate ? ", added, " : ", overwritten, ";
      one(name + how + "3584 x 1024", counts, 3584, 1024, accumulate);
      one(name + how + "1024 x 3584", counts, 1024, 3584, accumulate);
    }
  }

  private void one(String name, int[] counts, int n, int k, boolean accumulate) {
    int[] offsets = new int[EXPERTS + 1];
    for (int e = 0; e < EXPERTS; e++) {
      offsets[e + 1] = offsets[e] + counts[e];
    }
    int rows = offsets[EXPERTS];
    String command =
        String.format(
            "op %d grouped %s %d %d %s",
            SAMPLES,
            accumulate ? "weight32" : "weight",
            k,
            n,
            Arrays.stream(counts).mapToObj(Integer::toString).collect(Collectors.joining(",")));
    TrainingBackend b = variants.backend();
    Samples[] ours = new Samples[GradientVariants.HOPPER.size()];
    Samples theirs = null;
    for (int round = 0; round < rounds; round++) {
      try (DeviceData data = new DeviceData(b)) {
        Tensor dW = data.out32(EXPERTS, n, k);
        Tensor dOut = data.real(rows, n);
        Tensor in = data.real(rows, k);
        Tensor at = data.i32(offsets, EXPERTS + 1);
        for (int i = 0; i < ours.length; i++) {
          // In changing order: whoever comes second finds a warmer device.
          int which = (i + round) % ours.length;
          GroupedTiles tiles = GradientVariants.HOPPER.get(which);
          Runnable op = () -> variants.run(tiles, dW, dOut, in, at, accumulate);
          ours[which] = Samples.seconds(b, op, SAMPLES).and(ours[which]);
        }
      }
      if (python != null) {
        theirs = TorchGpu.seconds(python.ask(command)).and(theirs);
      }
    }
    GroupedTiles chosen = variants.chosen(true, rows, EXPERTS, n, k);
    for (int i = 0; i < ours.length; i++) {
      GroupedTiles tiles = GradientVariants.HOPPER.get(i);
      results.speed(
          name + ": " + GradientVariantsTest.name(tiles),
          ours[i],
          theirs,
          2e-12 * rows * n * k,
          "TFLOP/s",
          Arrays.equals(tiles.defines(), chosen.defines()) ? "chosen" : "");
    }
  }
}

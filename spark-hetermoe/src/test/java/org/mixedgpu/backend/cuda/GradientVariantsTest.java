package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/** All variants of the weight gradient agree with the plain kernel, and with themselves. */
@Tag("gpu")
class GradientVariantsTest {
  @TempDir static Path cache;

  private GradientVariants variants;

  @BeforeEach
  void open() {
    variants =
        new GradientVariants(
            new CudaDevice(new CudaOptions("0", DType.BF16, Long.MAX_VALUE, cache)));
    assumeTrue(variants.onHopper(), "a GPU with the instructions of Hopper");
  }

  @AfterEach
  void close() {
    variants.close();
  }

  /** n, k, and the rows of each expert. */
  @ParameterizedTest
  @CsvSource({
    "3584, 1024, 128 128 64 192",
    "1024, 3584, 0 0 7 300 0 1",
    "1544, 456, 129 0 1000 65 2049",
    "8, 8, 1 0 63",
    "520, 264, 0 0 0",
  })
  void allAgree(int n, int k, String groups) {
    int[] counts = Arrays.stream(groups.split(" ")).mapToInt(Integer::parseInt).toArray();
    int experts = counts.length;
    // Some rows before the first group and after the last, which are nobody's.
    int[] offsets = new int[experts + 1];
    offsets[0] = 3;
    for (int e = 0; e < experts; e++) {
      offsets[e + 1] = offsets[e] + counts[e];
    }
    int rows = offsets[experts] + 5;
    TrainingBackend b = variants.backend();
    try (DeviceData data = new DeviceData(b)) {
      Tensor dOut = data.real(rows, n);
      Tensor in = data.real(rows, k);
      Tensor at = data.i32(offsets, experts + 1);
      Tensor start = data.f32(experts, n, k);
      Tensor dW = data.out32(experts, n, k);
      for (boolean accumulate : new boolean[] {false, true}) {
        float[] expected = run(plain(rows, n, k), dW, start, dOut, in, at, accumulate);
        // One row forgotten of 2000 is 2 %; the tensor cores' sums are not rounded as the plain
        // ones.
        double size = Math.max(1, norm(expected));
        for (GroupedTiles tiles : GradientVariants.HOPPER) {
          float[] got = run(tiles, dW, start, dOut, in, at, accumulate);
          assertThat(distance(got, expected) / size)
              .as("%s, %s", name(tiles), accumulate ? "added" : "overwritten")
              .isLessThan(1e-4);
          assertThat(run(tiles, dW, start, dOut, in, at, accumulate)).isEqualTo(got);
        }
      }
    }
  }

  private GroupedTiles plain(int rows, int n, int k) {
    return variants.chosen(false, rows, 1, n, k);
  }

  /** Over NaN, or on top of what start has. */
  private float[] run(
      GroupedTiles tiles,
      Tensor dW,
      Tensor start,
      Tensor dOut,
      Tensor in,
      Tensor at,
      boolean accumulate) {
    TrainingBackend b = variants.backend();
    if (accumulate) {
      b.copy(dW, start);
    } else {
      b.fill(dW, Float.NaN);
    }
    variants.run(tiles, dW, dOut, in, at, accumulate);
    return Floats.read(b, dW);
  }

  static String name(GroupedTiles tiles) {
    return Stream.of(tiles.defines()).collect(Collectors.joining(" "));
  }

  private static double norm(float[] x) {
    return distance(x, new float[x.length]);
  }

  private static double distance(float[] got, float[] expected) {
    double squares = 0;
    for (int i = 0; i < got.length; i++) {
      squares += Math.pow((double) got[i] - expected[i], 2);
    }
    return Math.sqrt(squares);
  }
}

package org.mixedgpu.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** How many threads share a product must not change a bit of it. */
class MatrixCutsTest {

  @ParameterizedTest
  @CsvSource({
    "1024, 768, 768",
    "1000, 96, 517",
    "333, 517, 211",
    "200, 3000, 130",
    "97, 250, 1030",
    "40, 768, 300",
    "1, 5000, 64",
    "5000, 64, 40"
  })
  void aProductHasTheSameBitsWithAnyNumberOfThreads(int m, int n, int k) {
    for (Transpose transpose : Transpose.values()) {
      float[] one = product(1, m, n, k, transpose);
      for (int threads : new int[] {2, 3, 7}) {
        assertThat(Arrays.equals(product(threads, m, n, k, transpose), one))
            .as("%s with %d threads", transpose, threads)
            .isTrue();
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"768, 160", "100, 96"})
  void aGroupedProductHasTheSameBitsWithAnyNumberOfThreads(int n, int k) {
    for (Transpose transpose : new Transpose[] {Transpose.NN, Transpose.NT}) {
      float[] one = grouped(1, n, k, transpose);
      for (int threads : new int[] {2, 3, 7}) {
        assertThat(Arrays.equals(grouped(threads, n, k, transpose), one))
            .as("%s with %d threads", transpose, threads)
            .isTrue();
      }
    }
  }

  private static float[] product(int threads, int m, int n, int k, Transpose transpose) {
    boolean tn = transpose == Transpose.TN;
    boolean nt = transpose == Transpose.NT;
    try (TrainingBackend b = Backends.cpu(new CpuOptions(threads, Long.MAX_VALUE));
        Tensor x = random(b, tn ? k : m, tn ? m : k);
        Tensor y = random(b, nt ? n : k, nt ? k : n);
        Tensor out = b.allocate(DType.F32, Shape.of(m, n))) {
      b.matmul(out, x, y, transpose, 0);
      return Floats.read(b, out);
    }
  }

  private static float[] grouped(int threads, int n, int k, Transpose transpose) {
    int rows = 700;
    boolean nt = transpose == Transpose.NT;
    try (TrainingBackend b = Backends.cpu(new CpuOptions(threads, Long.MAX_VALUE));
        Tensor in = random(b, rows, nt ? k : n);
        Tensor w = random(b, 3 * n, k);
        Tensor offsets = Floats.ints(b, 0, 411, 420, rows);
        Tensor out = b.allocate(DType.F32, Shape.of(rows, nt ? n : k))) {
      b.groupedMatmul(out, in, w.view(Shape.of(3, n, k)), offsets, transpose);
      return Floats.read(b, out);
    }
  }

  private static Tensor random(TrainingBackend b, int rows, int columns) {
    Tensor t = b.allocate(DType.F32, Shape.of(rows, columns));
    float[] x = new float[rows * columns];
    Random random = new Random(x.length);
    for (int i = 0; i < x.length; i++) {
      x[i] = (float) random.nextGaussian();
    }
    Floats.write(b, t, x);
    return t;
  }
}

package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

class CpuBackendTest {
  static float[] random(int n, long seed) {
    Random random = new Random(seed);
    float[] x = new float[n];
    for (int i = 0; i < n; i++) {
      x[i] = (float) random.nextGaussian();
    }
    return x;
  }

  static Tensor tensor(Backend b, float[] x, long... dims) {
    Tensor t = b.allocate(DType.F32, Shape.of(dims));
    ByteBuffer bytes = ByteBuffer.allocate(x.length * 4).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(x);
    b.write(t, bytes);
    return t;
  }

  static float[] floats(Backend b, Tensor t) {
    ByteBuffer bytes = ByteBuffer.allocate((int) t.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    b.read(bytes, t);
    float[] x = new float[(int) t.shape().elements()];
    bytes.flip().asFloatBuffer();
    for (int i = 0; i < x.length; i++) {
      x[i] = bytes.getFloat(i * 4);
    }
    return x;
  }

  @Test
  void attentionAgreesWithPlainLoops() {
    try (TrainingBackend b = Backends.cpu(CpuOptions.allCores())) {
      System.out.println(b.name());
      int tq = 130;
      int tk = 700;
      int heads = 4;
      int kv = 2;
      int d = 8;
      float[] q = random(tq * heads * d, 1);
      float[] k = random(tk * kv * d, 2);
      float[] v = random(tk * kv * d, 3);
      try (Tensor tQ = tensor(b, q, tq, heads * d);
          Tensor tK = tensor(b, k, tk, kv * d);
          Tensor tV = tensor(b, v, tk, kv * d);
          Tensor out = b.allocate(DType.F32, Shape.of(tq, heads * d))) {
        for (int window : new int[] {0, 5, 600}) {
          b.attention(out, null, tQ, tK, tV, new AttentionShape(1, heads, kv, d, 0.35f, window));
          float[] got = floats(b, out);
          double worst = 0;
          for (int i = 0; i < tq; i++) {
            for (int h = 0; h < heads; h++) {
              int g = h / 2;
              double[] o = new double[d];
              double total = 0;
              int last = i + tk - tq;
              for (int j = window == 0 ? 0 : Math.max(0, last - window + 1); j <= last; j++) {
                double s = 0;
                for (int c = 0; c < d; c++) {
                  s += (double) q[(i * heads + h) * d + c] * k[(j * kv + g) * d + c];
                }
                double e = Math.exp(s * 0.35);
                total += e;
                for (int c = 0; c < d; c++) {
                  o[c] += e * v[(j * kv + g) * d + c];
                }
              }
              for (int c = 0; c < d; c++) {
                worst = Math.max(worst, Math.abs(o[c] / total - got[(i * heads + h) * d + c]));
              }
            }
          }
          assertThat(worst).isLessThan(1e-5);
        }
      }
    }
  }
}

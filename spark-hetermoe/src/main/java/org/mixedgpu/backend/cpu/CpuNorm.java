package org.mixedgpu.backend.cpu;

import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;

/** Root-mean-square norm and rotary position embedding. */
final class CpuNorm {
  private static final int GRAIN = CpuElementwise.GRAIN;

  private final Workers workers;
  private final CpuRows rows;

  CpuNorm(Workers workers, CpuRows rows) {
    this.workers = workers;
    this.rows = rows;
  }

  void rmsNorm(
      HostTensor out, HostTensor inverseRms, HostTensor x, HostTensor gain, float epsilon) {
    CpuBackend.CHECKS.rmsNorm(out, inverseRms, x, gain);
    Shape shape = x.shape();
    int width = CpuRows.width(shape);
    workers.rows(
        shape.rows(),
        width,
        GRAIN,
        (from, to) -> {
          float[] row = Scratch.ofThread().array(0, width);
          float[] factor = Scratch.ofThread().array(1, width);
          gain.load(0, factor, 0, width);
          for (long r = from; r < to; r++) {
            x.load(r * width, row, 0, width);
            float inverse = (float) (1 / Math.sqrt(Sums.squares(row, width) / width + epsilon));
            for (int i = 0; i < width; i++) {
              row[i] = row[i] * inverse * factor[i];
            }
            out.store(r * width, row, 0, width);
            if (inverseRms != null) {
              inverseRms.f32(r, inverse);
            }
          }
        });
  }

  /**
   * With n = x · inverse and g = dOut · gain: dX = inverse · (g − n · mean(g · n)), dGain = Σ dOut
   * · n.
   */
  void rmsNormBackward(
      HostTensor dX,
      HostTensor dGain,
      HostTensor dOut,
      HostTensor x,
      HostTensor gain,
      HostTensor inverseRms) {
    CpuBackend.CHECKS.rmsNormBackward(dX, dGain, dOut, x, gain, inverseRms);
    Shape shape = x.shape();
    int width = CpuRows.width(shape);
    if (dGain != null) {
      // First, because dX may be dOut.
      gainGradient(dGain, dOut, x, inverseRms, width);
    }
    workers.rows(
        shape.rows(),
        width,
        GRAIN,
        (from, to) -> {
          float[] g = Scratch.ofThread().array(0, width);
          float[] row = Scratch.ofThread().array(1, width);
          float[] factor = Scratch.ofThread().array(2, width);
          gain.load(0, factor, 0, width);
          for (long r = from; r < to; r++) {
            dOut.load(r * width, g, 0, width);
            x.load(r * width, row, 0, width);
            for (int i = 0; i < width; i++) {
              g[i] *= factor[i];
            }
            float inverse = inverseRms.f32(r);
            float mean = (float) (Sums.dot(g, row, width) / width);
            float pull = mean * inverse * inverse * inverse;
            for (int i = 0; i < width; i++) {
              g[i] = g[i] * inverse - row[i] * pull;
            }
            dX.store(r * width, g, 0, width);
          }
        });
  }

  private void gainGradient(
      HostTensor dGain, HostTensor dOut, HostTensor x, HostTensor inverseRms, int width) {
    rows.columns(
        width,
        (first, count) -> {
          double[] sum = new double[count];
          float[] d = Scratch.ofThread().array(0, count);
          float[] row = Scratch.ofThread().array(1, count);
          for (long r = 0; r < x.shape().rows(); r++) {
            float inverse = inverseRms.f32(r);
            dOut.load(r * width + first, d, 0, count);
            x.load(r * width + first, row, 0, count);
            for (int c = 0; c < count; c++) {
              sum[c] += d[c] * row[c] * inverse;
            }
          }
          CpuRows.store(dGain, first, count, sum, row, true);
        });
  }

  void rope(
      HostTensor x,
      int headDim,
      HostTensor cos,
      HostTensor sin,
      int firstPosition,
      int sequence,
      boolean inverse) {
    CpuBackend.CHECKS.rope(x, headDim, cos, sin, firstPosition, sequence);
    Shape shape = x.shape();
    int half = headDim / 2;
    int width = CpuRows.width(shape);
    workers.rows(
        shape.rows(),
        width,
        GRAIN,
        (from, to) -> {
          float[] row = Scratch.ofThread().array(0, width);
          float[] c = Scratch.ofThread().array(1, half);
          float[] s = Scratch.ofThread().array(2, half);
          for (long r = from; r < to; r++) {
            long position = firstPosition + r % sequence;
            cos.load(position * half, c, 0, half);
            sin.load(position * half, s, 0, half);
            if (inverse) {
              negate(s, half);
            }
            x.load(r * width, row, 0, width);
            for (int head = 0; head < width; head += headDim) {
              rotate(row, head, half, c, s);
            }
            x.store(r * width, row, 0, width);
          }
        });
  }

  private static void negate(float[] x, int count) {
    for (int i = 0; i < count; i++) {
      x[i] = -x[i];
    }
  }

  private static void rotate(float[] row, int at, int half, float[] cos, float[] sin) {
    for (int i = 0; i < half; i++) {
      float a = row[at + i];
      float b = row[at + half + i];
      row[at + i] = a * cos[i] - b * sin[i];
      row[at + half + i] = b * cos[i] + a * sin[i];
    }
  }
}

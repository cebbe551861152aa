package org.mixedgpu.backend.cpu;

import jdk.incubator.vector.FloatVector;
import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.tensor.HostTensor;

/** AdamW and the norm it is clipped by. */
final class CpuOptimizer {
  private static final int TILE = CpuElementwise.TILE;
  private static final int LANES = Maths.LANES;

  /** Elements summed by one task; fixed, because it orders the sum. */
  private static final int SUM_BLOCK = 1 << 16;

  private final Workers workers;

  CpuOptimizer(Workers workers) {
    this.workers = workers;
  }

  void sumSquares(HostTensor out, HostTensor x) {
    CpuBackend.CHECKS.sumSquares(out, x);
    long elements = x.shape().elements();
    int blocks = Math.toIntExact((elements + SUM_BLOCK - 1) / SUM_BLOCK);
    double[] partial = new double[blocks];
    workers.run(
        blocks,
        b -> {
          float[] tile = Scratch.ofThread().array(0, TILE);
          long end = Math.min(elements, (b + 1L) * SUM_BLOCK);
          for (long at = (long) b * SUM_BLOCK; at < end; at += TILE) {
            int count = (int) Math.min(TILE, end - at);
            x.load(at, tile, 0, count);
            partial[b] += Sums.squares(tile, count);
          }
        });
    double sum = 0;
    for (double part : partial) {
      sum += part;
    }
    out.f32(0, (float) sum);
  }

  void adamW(
      HostTensor param,
      HostTensor firstMoment,
      HostTensor secondMoment,
      HostTensor gradient,
      AdamWStep step) {
    double correction1 = 1 - StrictMath.pow(step.beta1(), step.step());
    double correction2 = 1 - StrictMath.pow(step.beta2(), step.step());
    float rate = (float) (step.learningRate() / correction1);
    float root = (float) (1 / Math.sqrt(correction2));
    float keep = (float) (1 - (double) step.learningRate() * step.weightDecay());
    workers.rows(
        param.shape().elements(),
        1,
        CpuElementwise.GRAIN,
        (from, to) -> {
          Scratch scratch = Scratch.ofThread();
          float[] p = scratch.array(0, TILE);
          float[] m = scratch.array(1, TILE);
          float[] v = scratch.array(2, TILE);
          float[] g = scratch.array(3, TILE);
          for (long at = from; at < to; at += TILE) {
            int count = (int) Math.min(TILE, to - at);
            param.load(at, p, 0, count);
            firstMoment.load(at, m, 0, count);
            secondMoment.load(at, v, 0, count);
            gradient.load(at, g, 0, count);
            tile(p, m, v, g, count, step, rate, root, keep);
            param.store(at, p, 0, count);
            firstMoment.store(at, m, 0, count);
            secondMoment.store(at, v, 0, count);
          }
        });
  }

  private static void tile(
      float[] p,
      float[] m,
      float[] v,
      float[] g,
      int count,
      AdamWStep step,
      float rate,
      float root,
      float keep) {
    float beta1 = step.beta1();
    float beta2 = step.beta2();
    float rest1 = 1 - beta1;
    float rest2 = 1 - beta2;
    float scale = step.gradScale();
    float epsilon = step.epsilon();
    int i = 0;
    for (; i <= count - LANES; i += LANES) {
      FloatVector d = FloatVector.fromArray(Maths.FLOATS, g, i).mul(scale);
      FloatVector mean = FloatVector.fromArray(Maths.FLOATS, m, i).mul(beta1).add(d.mul(rest1));
      FloatVector square =
          FloatVector.fromArray(Maths.FLOATS, v, i).mul(beta2).add(d.mul(rest2).mul(d));
      FloatVector divisor = square.sqrt().mul(root).add(epsilon);
      mean.intoArray(m, i);
      square.intoArray(v, i);
      FloatVector kept = FloatVector.fromArray(Maths.FLOATS, p, i).mul(keep);
      kept.sub(mean.mul(rate).div(divisor)).intoArray(p, i);
    }
    for (; i < count; i++) {
      float d = g[i] * scale;
      m[i] = m[i] * beta1 + d * rest1;
      v[i] = v[i] * beta2 + d * rest2 * d;
      float divisor = (float) Math.sqrt(v[i]) * root + epsilon;
      p[i] = p[i] * keep - m[i] * rate / divisor;
    }
  }
}

package org.mixedgpu.backend;

import org.mixedgpu.tensor.Tensor;

/** The rest of the definition: the ops of transformers, and of training. */
public final class ReferenceBackend extends ReferenceOps {
  public ReferenceBackend() {
    this(Long.MAX_VALUE);
  }

  public ReferenceBackend(long memoryLimitBytes) {
    super(memoryLimitBytes);
  }

  @Override
  public void rmsNorm(Tensor out, Tensor inverseRms, Tensor x, Tensor gain, float epsilon) {
    CHECKS.rmsNorm(out, inverseRms, x, gain);
    double[] values = values(x);
    double[] g = values(gain);
    double[] inverse = new double[dim(x, 0)];
    int width = dim(x, 1);
    for (int r = 0; r < inverse.length; r++) {
      double sum = 0;
      for (int c = 0; c < width; c++) {
        sum += values[r * width + c] * values[r * width + c];
      }
      inverse[r] = 1 / Math.sqrt(sum / width + epsilon);
      for (int c = 0; c < width; c++) {
        values[r * width + c] *= inverse[r] * g[c];
      }
    }
    put(out, values);
    if (inverseRms != null) {
      put(inverseRms, inverse);
    }
  }

  /** dx_c = inverse · g_c dy_c − x_c · inverse³ / N · Σ_d g_d dy_d x_d. */
  @Override
  public void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms) {
    CHECKS.rmsNormBackward(dX, dGain, dOut, x, gain, inverseRms);
    double[] values = values(x);
    double[] d = values(dOut);
    double[] g = values(gain);
    double[] inverse = values(inverseRms);
    double[] sumGain = dGain == null ? new double[g.length] : values(dGain);
    double[] result = new double[values.length];
    int width = dim(x, 1);
    for (int r = 0; r < inverse.length; r++) {
      double dot = 0;
      for (int c = 0; c < width; c++) {
        int i = r * width + c;
        dot += g[c] * d[i] * values[i];
        sumGain[c] += d[i] * values[i] * inverse[r];
      }
      for (int c = 0; c < width; c++) {
        int i = r * width + c;
        result[i] = inverse[r] * g[c] * d[i] - values[i] * Math.pow(inverse[r], 3) / width * dot;
      }
    }
    put(dX, result);
    if (dGain != null) {
      put(dGain, sumGain);
    }
  }

  @Override
  public void rope(
      Tensor x,
      int headDim,
      Tensor cos,
      Tensor sin,
      int firstPosition,
      int sequence,
      boolean inverse) {
    CHECKS.rope(x, headDim, cos, sin, firstPosition, sequence);
    double[] values = values(x);
    double[] result = new double[values.length];
    double[] c = values(cos);
    double[] s = values(sin);
    int width = dim(x, 1);
    int half = headDim / 2;
    for (int i = 0; i < values.length; i++) {
      int position = firstPosition + i / width % sequence;
      int inHead = i % width % headDim;
      int angle = position * half + inHead % half;
      double partner = inHead < half ? -values[i + half] : values[i - half];
      result[i] = values[i] * c[angle] + partner * (inverse ? -s[angle] : s[angle]);
    }
    put(x, result);
  }

  @Override
  public void attention(
      Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    CHECKS.attention(out, logSumExp, q, k, v, shape);
    ReferenceAttention attention = new ReferenceAttention(q, k, v, shape);
    attention.forward();
    put(out, attention.out);
    if (logSumExp != null) {
      put(logSumExp, attention.logSumExp);
    }
  }

  @Override
  public void attentionBackward(
      Tensor dQ,
      Tensor dK,
      Tensor dV,
      Tensor dOut,
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor out,
      Tensor logSumExp,
      AttentionShape shape) {
    CHECKS.attentionBackward(dQ, dK, dV, dOut, q, k, v, out, logSumExp, shape);
    ReferenceAttention attention = new ReferenceAttention(q, k, v, shape);
    attention.backward(values(dOut));
    put(dQ, attention.dQ);
    put(dK, attention.dK);
    put(dV, attention.dV);
  }

  @Override
  public void routerTopK(
      Tensor probs, Tensor weights, Tensor experts, Tensor logits, boolean renormalise) {
    CHECKS.routerTopK(probs, weights, experts, logits);
    ReferenceRouter.topK(probs, weights, experts, logits, renormalise);
  }

  @Override
  public void sortByExpert(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts) {
    CHECKS.sortByExpert(slotOf, rowOf, offsets, experts);
    ReferenceRouter.sort(slotOf, rowOf, offsets, experts);
  }

  @Override
  public void routerBackward(
      Tensor dLogits,
      Tensor dWeights,
      Tensor probs,
      Tensor weights,
      Tensor experts,
      Tensor logits,
      boolean renormalise,
      Tensor auxByExpert,
      float zScale) {
    CHECKS.routerBackward(dLogits, dWeights, probs, weights, experts, logits, auxByExpert, zScale);
    ReferenceRouter.backward(
        dLogits, dWeights, probs, weights, experts, logits, renormalise, auxByExpert, zScale);
  }

  @Override
  public void crossEntropy(
      Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets, float gradScale) {
    CHECKS.crossEntropy(rowLoss, dLogits, logits, targets);
    double[] x = values(logits);
    int[] target = ints(targets);
    int width = dim(logits, 1);
    double[] loss = new double[target.length];
    double[] d = new double[x.length];
    for (int r = 0; r < target.length; r++) {
      if (target[r] < 0) {
        continue;
      }
      OpChecks.index("crossEntropy", "targets", target[r], r, width);
      double[] p = softmax(x, r * width, width);
      loss[r] = -Math.log(p[target[r]]);
      for (int c = 0; c < width; c++) {
        d[r * width + c] = gradScale * (p[c] - (c == target[r] ? 1 : 0));
      }
    }
    put(rowLoss, loss);
    if (dLogits != null) {
      put(dLogits, d);
    }
  }

  static double[] softmax(double[] x, int at, int count) {
    double maximum = Double.NEGATIVE_INFINITY;
    for (int c = 0; c < count; c++) {
      maximum = Math.max(maximum, x[at + c]);
    }
    double[] p = new double[count];
    double sum = 0;
    for (int c = 0; c < count; c++) {
      p[c] = Math.exp(x[at + c] - maximum);
      sum += p[c];
    }
    for (int c = 0; c < count; c++) {
      p[c] /= sum;
    }
    return p;
  }

  @Override
  public void addBiasBackward(Tensor dBias, Tensor dOut) {
    CHECKS.addBiasBackward(dBias, dOut);
    double[] sum = values(dBias);
    double[] d = values(dOut);
    for (int i = 0; i < d.length; i++) {
      sum[i % sum.length] += d[i];
    }
    put(dBias, sum);
  }

  @Override
  public void swigluBackward(
      Tensor dGate, Tensor dUp, Tensor product, Tensor dOut, Tensor gate, Tensor up) {
    CHECKS.swigluBackward(dGate, dUp, product, dOut, gate, up);
    double[] d = values(dOut);
    double[] g = values(gate);
    double[] u = values(up);
    double[] p = new double[d.length];
    for (int i = 0; i < d.length; i++) {
      double sigmoid = sigmoid(g[i]);
      double silu = g[i] * sigmoid;
      double slope = sigmoid + g[i] * sigmoid * (1 - sigmoid);
      p[i] = silu * u[i];
      g[i] = d[i] * u[i] * slope;
      u[i] = d[i] * silu;
    }
    put(dGate, g);
    put(dUp, u);
    put(product, p);
  }

  @Override
  public void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate) {
    CHECKS.addGatedBackward(dX, dGate, dOut, x, gate);
    double[] d = values(dOut);
    double[] values = values(x);
    double[] g = values(gate);
    double[] result = new double[g.length];
    int width = dim(x, 1);
    for (int i = 0; i < d.length; i++) {
      double sigmoid = sigmoid(g[i / width]);
      result[i / width] += d[i] * values[i] * sigmoid * (1 - sigmoid);
      d[i] *= sigmoid;
    }
    put(dX, d);
    put(dGate, result);
  }

  @Override
  public void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index) {
    CHECKS.scatterAddRows(dTable, dOut, index);
    double[] table = values(dTable);
    double[] d = values(dOut);
    int[] rows = ints(index);
    int width = (int) dOut.shape().rowElements();
    for (int i = 0; i < d.length; i++) {
      OpChecks.index("scatterAddRows", "index", rows[i / width], i / width, dTable.shape().rows());
      table[rows[i / width] * width + i % width] += d[i];
    }
    put(dTable, table);
  }

  @Override
  public void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights) {
    CHECKS.combineRowsBackward(dSlots, dWeights, dOut, slots, slotOf, weights);
    double[] d = values(dOut);
    double[] slot = values(slots);
    double[] w = values(weights);
    int[] of = ints(slotOf);
    double[] dSlot = new double[slot.length];
    double[] dWeight = new double[w.length];
    int width = dim(dOut, 1);
    int k = dim(slotOf, 1);
    for (int i = 0; i < of.length; i++) {
      OpChecks.index("combineRowsBackward", "slotOf", of[i], i, slots.shape().rows());
      for (int c = 0; c < width; c++) {
        dSlot[of[i] * width + c] = w[i] * d[i / k * width + c];
        dWeight[i] += d[i / k * width + c] * slot[of[i] * width + c];
      }
    }
    put(dSlots, dSlot);
    put(dWeights, dWeight);
  }

  @Override
  public void sumSquares(Tensor out, Tensor x) {
    CHECKS.sumSquares(out, x);
    double sum = 0;
    for (double value : values(x)) {
      sum += value * value;
    }
    put(out, new double[] {sum});
  }

  @Override
  public void sumRows(Tensor out, Tensor x) {
    CHECKS.sumRows(out, x);
    double[] sum = new double[dim(x, 1)];
    double[] values = values(x);
    for (int i = 0; i < values.length; i++) {
      sum[i % sum.length] += values[i];
    }
    put(out, sum);
  }

  @Override
  public void adamW(
      Tensor param,
      Tensor firstMoment,
      Tensor secondMoment,
      Tensor gradient,
      Tensor working,
      AdamWStep step) {
    CHECKS.adamW(param, firstMoment, secondMoment, gradient, working);
    double[] p = values(param);
    double[] m = values(firstMoment);
    double[] v = values(secondMoment);
    double[] g = values(gradient);
    for (int i = 0; i < p.length; i++) {
      double d = g[i] * step.gradScale();
      m[i] = step.beta1() * m[i] + (1 - (double) step.beta1()) * d;
      v[i] = step.beta2() * v[i] + (1 - (double) step.beta2()) * d * d;
      double mean = m[i] / (1 - Math.pow(step.beta1(), step.step()));
      double square = v[i] / (1 - Math.pow(step.beta2(), step.step()));
      p[i] -= (double) step.learningRate() * step.weightDecay() * p[i];
      p[i] -= step.learningRate() * mean / (Math.sqrt(square) + step.epsilon());
    }
    put(param, p);
    put(firstMoment, m);
    put(secondMoment, v);
  }
}

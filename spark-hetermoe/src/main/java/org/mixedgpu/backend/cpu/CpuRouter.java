package org.mixedgpu.backend.cpu;

import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;

/** The router of a mixture of experts: choice, grouping, gradient. */
final class CpuRouter {
  private final Workers workers;

  CpuRouter(Workers workers) {
    this.workers = workers;
  }

  void topK(
      HostTensor probs,
      HostTensor weights,
      HostTensor experts,
      HostTensor logits,
      boolean renormalise) {
    CpuBackend.CHECKS.routerTopK(probs, weights, experts, logits);
    Shape shape = logits.shape();
    int count = CpuRows.width(shape);
    int k = (int) experts.shape().dim(1);
    workers.rows(
        shape.rows(),
        (long) count * (k + 4),
        CpuElementwise.GRAIN,
        (from, to) -> {
          float[] row = Scratch.ofThread().array(0, count);
          for (long r = from; r < to; r++) {
            logits.load(r * count, row, 0, count);
            double sum = Softmax.expAndSum(row, 0, count, Softmax.max(row, 0, count));
            for (int e = 0; e < count; e++) {
              row[e] = (float) (row[e] / sum);
            }
            probs.store(r * count, row, 0, count);
            choose(weights, experts, r * k, k, row, count, renormalise);
          }
        });
  }

  private static void choose(
      HostTensor weights,
      HostTensor experts,
      long at,
      int k,
      float[] row,
      int count,
      boolean renormalise) {
    double total = 0;
    for (int j = 0; j < k; j++) {
      int best = -1;
      for (int e = 0; e < count; e++) {
        // Strictly greater: ties keep the lower index. Chosen ones are marked -1; NaN never wins
        // over a number, and where all are NaN the lowest index left is taken.
        if (row[e] != -1f && (best < 0 || row[e] > row[best])) {
          best = e;
        }
      }
      experts.int32(at + j, best);
      weights.f32(at + j, row[best]);
      total += row[best];
      row[best] = -1f;
    }
    if (renormalise) {
      for (int j = 0; j < k; j++) {
        weights.f32(at + j, (float) (weights.f32(at + j) / total));
      }
    }
  }

  /** A stable counting sort. */
  void sortByExpert(HostTensor slotOf, HostTensor rowOf, HostTensor offsets, HostTensor experts) {
    CpuBackend.CHECKS.sortByExpert(slotOf, rowOf, offsets, experts);
    int count = (int) offsets.shape().rows() - 1;
    int k = (int) experts.shape().dim(1);
    int[] chosen = experts.ints();
    int[] next = new int[count + 1];
    for (int i = 0; i < chosen.length; i++) {
      OpChecks.index("sortByExpert", "experts", chosen[i], i, count);
      next[chosen[i] + 1]++;
    }
    for (int e = 0; e < count; e++) {
      next[e + 1] += next[e];
    }
    for (int e = 0; e <= count; e++) {
      offsets.int32(e, next[e]);
    }
    for (int i = 0; i < chosen.length; i++) {
      int slot = next[chosen[i]]++;
      slotOf.int32(i, slot);
      rowOf.int32(slot, i / k);
    }
  }

  /**
   * Of a row with chosen weights w_j (p_j, or p_j / Σp with renormalisation): dp_j = dw_j, or (dw_j
   * − Σ dw·w) / Σp; then through the softmax dlogits = p · (dp − Σ dp·p).
   */
  void backward(
      HostTensor dLogits,
      HostTensor dWeights,
      HostTensor probs,
      HostTensor weights,
      HostTensor experts,
      HostTensor logits,
      boolean renormalise,
      HostTensor auxByExpert,
      float zScale) {
    CpuBackend.CHECKS.routerBackward(
        dLogits, dWeights, probs, weights, experts, logits, auxByExpert, zScale);
    Shape shape = probs.shape();
    int count = CpuRows.width(shape);
    int k = (int) experts.shape().dim(1);
    workers.rows(
        shape.rows(),
        4L * count,
        CpuElementwise.GRAIN,
        (from, to) -> {
          float[] p = Scratch.ofThread().array(0, count);
          float[] x = Scratch.ofThread().array(1, count);
          float[] aux = Scratch.ofThread().array(2, count);
          double[] d = new double[count];
          if (auxByExpert != null) {
            auxByExpert.load(0, aux, 0, count);
          }
          for (long r = from; r < to; r++) {
            probs.load(r * count, p, 0, count);
            for (int e = 0; e < count; e++) {
              d[e] = auxByExpert == null ? 0 : aux[e];
            }
            addChosen(d, p, dWeights, weights, experts, r * k, k, renormalise);
            double mean = 0;
            for (int e = 0; e < count; e++) {
              mean += d[e] * p[e];
            }
            double z = 0;
            if (zScale != 0) {
              logits.load(r * count, x, 0, count);
              float maximum = Softmax.max(x, 0, count);
              double sum = Softmax.expAndSum(x, 0, count, maximum);
              z = zScale * (maximum + StrictMath.log(sum));
            }
            for (int e = 0; e < count; e++) {
              p[e] = (float) (p[e] * (d[e] - mean + z));
            }
            dLogits.store(r * count, p, 0, count);
          }
        });
  }

  private static void addChosen(
      double[] d,
      float[] p,
      HostTensor dWeights,
      HostTensor weights,
      HostTensor experts,
      long at,
      int k,
      boolean renormalise) {
    double mean = 0;
    double total = 1;
    if (renormalise) {
      total = 0;
      for (int j = 0; j < k; j++) {
        mean += (double) dWeights.f32(at + j) * weights.f32(at + j);
        total += p[chosen(experts, at + j, d.length)];
      }
    }
    for (int j = 0; j < k; j++) {
      d[chosen(experts, at + j, d.length)] += (dWeights.f32(at + j) - mean) / total;
    }
  }

  private static int chosen(HostTensor experts, long at, int count) {
    int expert = experts.int32(at);
    OpChecks.index("routerBackward", "experts", expert, at, count);
    return expert;
  }
}

package org.mixedgpu.backend;

import org.mixedgpu.tensor.Tensor;

/** The router by its definition. */
final class ReferenceRouter {
  private ReferenceRouter() {}

  static void topK(
      Tensor probs, Tensor weights, Tensor experts, Tensor logits, boolean renormalise) {
    double[] x = ReferenceOps.values(logits);
    int count = ReferenceOps.dim(logits, 1);
    int k = ReferenceOps.dim(experts, 1);
    int rows = ReferenceOps.dim(logits, 0);
    double[] p = new double[x.length];
    double[] w = new double[rows * k];
    int[] chosen = new int[rows * k];
    for (int r = 0; r < rows; r++) {
      double[] row = ReferenceBackend.softmax(x, r * count, count);
      System.arraycopy(row, 0, p, r * count, count);
      double total = 0;
      for (int j = 0; j < k; j++) {
        int best = 0;
        for (int e = 1; e < count; e++) {
          // Compared as the F32 values that are returned: equal ones are a tie.
          if ((float) row[e] > (float) row[best]) {
            best = e;
          }
        }
        chosen[r * k + j] = best;
        w[r * k + j] = row[best];
        total += row[best];
        row[best] = -1;
      }
      for (int j = 0; j < k && renormalise; j++) {
        w[r * k + j] /= total;
      }
    }
    ReferenceOps.put(probs, p);
    ReferenceOps.put(weights, w);
    ReferenceOps.put(experts, chosen);
  }

  static void sort(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts) {
    int[] chosen = ReferenceOps.ints(experts);
    int k = ReferenceOps.dim(experts, 1);
    int count = ReferenceOps.dim(offsets, 0) - 1;
    int[] slots = new int[chosen.length];
    int[] rows = new int[chosen.length];
    int[] bounds = new int[count + 1];
    int next = 0;
    for (int e = 0; e < count; e++) {
      bounds[e] = next;
      for (int i = 0; i < chosen.length; i++) {
        OpChecks.index("sortByExpert", "experts", chosen[i], i, count);
        if (chosen[i] == e) {
          slots[i] = next;
          rows[next] = i / k;
          next++;
        }
      }
    }
    bounds[count] = next;
    ReferenceOps.put(slotOf, slots);
    ReferenceOps.put(rowOf, rows);
    ReferenceOps.put(offsets, bounds);
  }

  /** Through explicit Jacobians: of the renormalisation, then of the softmax, then the z-loss. */
  static void backward(
      Tensor dLogits,
      Tensor dWeights,
      Tensor probs,
      Tensor weights,
      Tensor experts,
      Tensor logits,
      boolean renormalise,
      Tensor auxByExpert,
      float zScale) {
    double[] p = ReferenceOps.values(probs);
    double[] w = ReferenceOps.values(weights);
    double[] dW = ReferenceOps.values(dWeights);
    int[] chosen = ReferenceOps.ints(experts);
    double[] aux = auxByExpert == null ? null : ReferenceOps.values(auxByExpert);
    double[] x = zScale == 0 ? null : ReferenceOps.values(logits);
    int count = ReferenceOps.dim(probs, 1);
    int k = ReferenceOps.dim(experts, 1);
    double[] result = new double[p.length];
    for (int r = 0; r < p.length / count; r++) {
      double[] dP = new double[count];
      double total = 0;
      for (int j = 0; j < k; j++) {
        total += p[r * count + chosen[r * k + j]];
      }
      for (int j = 0; j < k; j++) {
        for (int l = 0; l < k; l++) {
          // d w_l / d p_j = ([j = l] − w_l) / total with renormalisation, else [j = l].
          double same = j == l ? 1 : 0;
          double slope = renormalise ? (same - w[r * k + l]) / total : same;
          dP[chosen[r * k + j]] += slope * dW[r * k + l];
        }
      }
      for (int e = 0; e < count; e++) {
        dP[e] += aux == null ? 0 : aux[e];
      }
      double z = zScale == 0 ? 0 : zScale * logSumExp(x, r * count, count);
      for (int i = 0; i < count; i++) {
        for (int e = 0; e < count; e++) {
          double same = i == e ? 1 : 0;
          result[r * count + i] += dP[e] * p[r * count + e] * (same - p[r * count + i]);
        }
        result[r * count + i] += z * p[r * count + i];
      }
    }
    ReferenceOps.put(dLogits, result);
  }

  private static double logSumExp(double[] x, int at, int count) {
    double maximum = Double.NEGATIVE_INFINITY;
    for (int e = 0; e < count; e++) {
      maximum = Math.max(maximum, x[at + e]);
    }
    double sum = 0;
    for (int e = 0; e < count; e++) {
      sum += Math.exp(x[at + e] - maximum);
    }
    return maximum + Math.log(sum);
  }
}

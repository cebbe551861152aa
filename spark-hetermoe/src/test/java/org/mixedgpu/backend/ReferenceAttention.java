package org.mixedgpu.backend;

import org.mixedgpu.tensor.Tensor;

/** Attention one query and one head at a time, with the whole row of probabilities. */
final class ReferenceAttention {
  private final double[] q;
  private final double[] k;
  private final double[] v;
  private final AttentionShape shape;
  private final int queries;
  private final int keys;

  final double[] out;
  final double[] logSumExp;
  final double[] dQ;
  final double[] dK;
  final double[] dV;

  ReferenceAttention(Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    this.q = ReferenceOps.values(q);
    this.k = ReferenceOps.values(k);
    this.v = ReferenceOps.values(v);
    this.shape = shape;
    this.queries = ReferenceOps.dim(q, 0) / shape.batch();
    this.keys = ReferenceOps.dim(k, 0) / shape.batch();
    this.out = new double[this.q.length];
    this.logSumExp = new double[this.q.length / shape.headDim()];
    this.dQ = new double[this.q.length];
    this.dK = new double[this.k.length];
    this.dV = new double[this.v.length];
  }

  void forward() {
    each(
        (row, p, first, last) -> {
          for (int j = first; j <= last; j++) {
            for (int c = 0; c < shape.headDim(); c++) {
              out[row.query + c] += p[j] * v[row.key(j) + c];
            }
          }
        });
  }

  /**
   * dv_j += p_j do; dp_j = do·v_j; ds_j = p_j (dp_j − Σ p dp) scale; dq += ds_j k_j; dk_j += ds_j
   * q.
   */
  void backward(double[] dOut) {
    each(
        (row, p, first, last) -> {
          double[] dP = new double[keys];
          double mean = 0;
          for (int j = first; j <= last; j++) {
            for (int c = 0; c < shape.headDim(); c++) {
              dP[j] += dOut[row.query + c] * v[row.key(j) + c];
              dV[row.key(j) + c] += p[j] * dOut[row.query + c];
            }
            mean += p[j] * dP[j];
          }
          for (int j = first; j <= last; j++) {
            double dS = p[j] * (dP[j] - mean) * shape.scale();
            for (int c = 0; c < shape.headDim(); c++) {
              dQ[row.query + c] += dS * k[row.key(j) + c];
              dK[row.key(j) + c] += dS * q[row.query + c];
            }
          }
        });
  }

  private interface RowBody {
    void accept(Row row, double[] p, int first, int last);
  }

  /** Where one query of one head and its keys start. */
  private record Row(int query, int keyStart, int keyStride) {
    int key(int j) {
      return keyStart + j * keyStride;
    }
  }

  private void each(RowBody body) {
    int width = shape.headDim();
    int group = shape.queryHeads() / shape.kvHeads();
    for (int b = 0; b < shape.batch(); b++) {
      for (int i = 0; i < queries; i++) {
        for (int h = 0; h < shape.queryHeads(); h++) {
          int index = (b * queries + i) * shape.queryHeads() + h;
          int keyStride = shape.kvHeads() * width;
          Row row = new Row(index * width, b * keys * keyStride + h / group * width, keyStride);
          int last = i + keys - queries;
          int first = shape.window() == 0 ? 0 : Math.max(0, last - shape.window() + 1);
          body.accept(row, probabilities(row, first, last, index), first, last);
        }
      }
    }
  }

  private double[] probabilities(Row row, int first, int last, int index) {
    double[] s = new double[keys];
    double maximum = Double.NEGATIVE_INFINITY;
    for (int j = first; j <= last; j++) {
      for (int c = 0; c < shape.headDim(); c++) {
        s[j] += q[row.query + c] * k[row.key(j) + c];
      }
      s[j] *= shape.scale();
      maximum = Math.max(maximum, s[j]);
    }
    double sum = 0;
    for (int j = first; j <= last; j++) {
      sum += Math.exp(s[j] - maximum);
    }
    for (int j = first; j <= last; j++) {
      s[j] = Math.exp(s[j] - maximum) / sum;
    }
    logSumExp[index] = maximum + Math.log(sum);
    return s;
  }
}

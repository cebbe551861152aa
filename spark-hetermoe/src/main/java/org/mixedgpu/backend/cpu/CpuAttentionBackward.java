package org.mixedgpu.backend.cpu;

import java.util.Arrays;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.tensor.HostTensor;

/**
 * Gradients of causal attention, with the probabilities computed again from the saved log-sum-exp
 * (Dao et al. 2022, FlashAttention, algorithm 4). A task is one KV head of one sequence, with all
 * its query heads: it alone adds to that head's dK and dV and to those heads' dQ, in a fixed order,
 * so that the bits do not vary.
 */
final class CpuAttentionBackward {
  private static final int QUERY_TILE = 128;
  private static final int KEY_TILE = 128;

  private final Workers workers;

  CpuAttentionBackward(Workers workers) {
    this.workers = workers;
  }

  void backward(
      HostTensor dQ,
      HostTensor dK,
      HostTensor dV,
      HostTensor dOut,
      HostTensor q,
      HostTensor k,
      HostTensor v,
      HostTensor out,
      HostTensor logSumExp,
      AttentionShape shape) {
    CpuBackend.CHECKS.attentionBackward(dQ, dK, dV, dOut, q, k, v, out, logSumExp, shape);
    Operands operands =
        new Operands(
            dQ,
            dK,
            dV,
            dOut,
            q,
            k,
            v,
            out,
            logSumExp,
            shape,
            Math.toIntExact(q.shape().rows() / shape.batch()),
            Math.toIntExact(k.shape().rows() / shape.batch()));
    workers.run(
        shape.batch() * shape.kvHeads(),
        task -> new Head(operands, task / shape.kvHeads(), task % shape.kvHeads()).run());
  }

  private record Operands(
      HostTensor dQ,
      HostTensor dK,
      HostTensor dV,
      HostTensor dOut,
      HostTensor q,
      HostTensor k,
      HostTensor v,
      HostTensor out,
      HostTensor logSumExp,
      AttentionShape shape,
      int queries,
      int keys) {}

  /** One KV head of one sequence. */
  private static final class Head {
    private final Operands o;
    private final AttentionShape shape;
    private final int width;
    private final int group;
    private final int kvHead;
    private final int queryStride;
    private final int keyStride;
    private final long firstQueryRow;

    /** Element of the first key of this head, in k, v, dK and dV. */
    private final long keyStart;

    private final int offset;
    private final Scratch scratch = Scratch.ofThread();
    private final Scratch.OffHeap p = scratch.offHeap(0, QUERY_TILE * KEY_TILE);
    private final Scratch.OffHeap dP = scratch.offHeap(1, QUERY_TILE * KEY_TILE);
    private final float[] row = scratch.array(0, KEY_TILE);
    private final float[] dRow = scratch.array(1, KEY_TILE);
    private final float[] delta;

    Head(Operands operands, int sequence, int kvHead) {
      this.o = operands;
      this.shape = operands.shape;
      this.width = shape.headDim();
      this.group = shape.queryHeads() / shape.kvHeads();
      this.kvHead = kvHead;
      this.queryStride = shape.queryHeads() * width;
      this.keyStride = shape.kvHeads() * width;
      this.firstQueryRow = (long) sequence * operands.queries;
      this.keyStart = (long) sequence * operands.keys * keyStride + (long) kvHead * width;
      this.offset = operands.keys - operands.queries;
      this.delta = deltas();
    }

    /** delta[h,i] = dOut_i · out_i = Σ_j p_ij dp_ij, for each query head of the group. */
    private float[] deltas() {
      float[] result = new float[group * o.queries];
      float[] a = scratch.array(2, width);
      float[] b = scratch.array(3, width);
      for (int h = 0; h < group; h++) {
        for (int i = 0; i < o.queries; i++) {
          o.dOut.load(queryElement(h, i), a, 0, width);
          o.out.load(queryElement(h, i), b, 0, width);
          result[h * o.queries + i] = (float) Sums.dot(a, b, width);
        }
      }
      return result;
    }

    private long queryElement(int h, int query) {
      return (firstQueryRow + query) * queryStride + (long) (kvHead * group + h) * width;
    }

    void run() {
      for (int first = 0; first < o.keys; first += KEY_TILE) {
        int count = Math.min(KEY_TILE, o.keys - first);
        boolean fresh = true;
        for (int h = 0; h < group; h++) {
          for (int query = 0; query < o.queries; query += QUERY_TILE) {
            int size = Math.min(QUERY_TILE, o.queries - query);
            if (sees(query, size, first, count)) {
              tile(h, query, size, first, count, fresh);
              fresh = false;
            }
          }
        }
        if (fresh) {
          zero(o.dK, first, count);
          zero(o.dV, first, count);
        }
      }
    }

    private boolean sees(int query, int size, int first, int count) {
      int last = query + size - 1 + offset;
      return first <= last && first + count > CpuAttention.firstKey(query + offset, shape.window());
    }

    private void tile(int h, int query, int size, int first, int count, boolean fresh) {
      long queryAt = 4 * queryElement(h, query);
      long keyAt = 4 * (keyStart + (long) first * keyStride);
      long q = o.q.address() + queryAt;
      long dOut = o.dOut.address() + queryAt;
      long k = o.k.address() + keyAt;
      float scale = shape.scale();
      OpenBlas.sgemm(
          false,
          true,
          size,
          count,
          width,
          scale,
          q,
          queryStride,
          k,
          keyStride,
          0f,
          p.address,
          KEY_TILE);
      OpenBlas.sgemm(
          false,
          true,
          size,
          count,
          width,
          1f,
          dOut,
          queryStride,
          o.v.address() + keyAt,
          keyStride,
          0f,
          dP.address,
          KEY_TILE);
      softmaxBackward(h, query, size, first, count);
      float beta = fresh ? 0f : 1f;
      OpenBlas.sgemm(
          true,
          false,
          count,
          width,
          size,
          1f,
          p.address,
          KEY_TILE,
          dOut,
          queryStride,
          beta,
          o.dV.address() + keyAt,
          keyStride);
      OpenBlas.sgemm(
          true,
          false,
          count,
          width,
          size,
          scale,
          dP.address,
          KEY_TILE,
          q,
          queryStride,
          beta,
          o.dK.address() + keyAt,
          keyStride);
      // The first key tile that a query tile sees holds its first key.
      int seen = CpuAttention.firstKey(query + offset, shape.window());
      boolean freshQuery = first <= seen;
      OpenBlas.sgemm(
          false,
          false,
          size,
          width,
          count,
          scale,
          dP.address,
          KEY_TILE,
          k,
          keyStride,
          freshQuery ? 0f : 1f,
          o.dQ.address() + queryAt,
          queryStride);
    }

    /** p = e^(s - logSumExp) where visible, else 0; dP becomes dS = p · (dP - delta). */
    private void softmaxBackward(int h, int query, int size, int first, int count) {
      for (int i = 0; i < size; i++) {
        int position = query + i + offset;
        int from = CpuAttention.firstKey(position, shape.window()) - first;
        from = Math.min(count, Math.max(0, from));
        int to = Math.max(from, Math.min(count, position + 1 - first));
        long lse = (firstQueryRow + query + i) * shape.queryHeads() + (long) kvHead * group + h;
        float maximum = o.logSumExp.f32(lse);
        float mean = delta[h * o.queries + query + i];
        p.load(i * KEY_TILE, row, count);
        dP.load(i * KEY_TILE, dRow, count);
        hide(row, from, to, count);
        hide(dRow, from, to, count);
        Softmax.exp(row, from, to, maximum);
        for (int c = from; c < to; c++) {
          dRow[c] = row[c] * (dRow[c] - mean);
        }
        p.store(i * KEY_TILE, row, count);
        dP.store(i * KEY_TILE, dRow, count);
      }
    }

    private static void hide(float[] x, int from, int to, int count) {
      Arrays.fill(x, 0, from, 0f);
      Arrays.fill(x, to, count, 0f);
    }

    private void zero(HostTensor gradient, int first, int count) {
      for (int j = 0; j < count; j++) {
        gradient.fill(keyStart + (long) (first + j) * keyStride, 0f, width);
      }
    }
  }
}

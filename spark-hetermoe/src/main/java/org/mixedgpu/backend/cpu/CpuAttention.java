package org.mixedgpu.backend.cpu;

import java.util.Arrays;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.tensor.HostTensor;

/**
 * Causal attention, forward. A task is one tile of queries of one head; it walks over tiles of keys
 * with a running maximum and sum (online softmax: Milakov and Gimelshein 2018; tiles: Dao et al.
 * 2022, FlashAttention), so that memory does not grow with the sequence. Both products of a tile
 * are calls of the native BLAS with the heads' stride.
 */
final class CpuAttention {
  /** Rows of one product: the library is a fifth faster with 128 than with 64. */
  private static final int QUERY_TILE = 128;

  private static final int KEY_TILE = 512;

  /** Rows of a tile that share where their keys end: the rest of their products is wasted. */
  private static final int STEP = 64;

  private final Workers workers;

  CpuAttention(Workers workers) {
    this.workers = workers;
  }

  void forward(
      HostTensor out,
      HostTensor logSumExp,
      HostTensor q,
      HostTensor k,
      HostTensor v,
      AttentionShape shape) {
    CpuBackend.CHECKS.attention(out, logSumExp, q, k, v, shape);
    int queries = Math.toIntExact(q.shape().rows() / shape.batch());
    int keys = Math.toIntExact(k.shape().rows() / shape.batch());
    int tiles = (queries + QUERY_TILE - 1) / QUERY_TILE;
    int heads = shape.queryHeads();
    workers.run(
        shape.batch() * heads * tiles,
        task -> {
          // The last tiles see the most keys: they go first, so that no thread is left with one.
          int tile = tiles - 1 - task / (shape.batch() * heads);
          int head = task % heads;
          int sequence = task / heads % shape.batch();
          new Tile(out, logSumExp, q, k, v, shape, queries, keys, sequence, head, tile).run();
        });
  }

  /** One tile of queries of one head of one sequence. */
  private static final class Tile {
    private final HostTensor out;
    private final HostTensor logSumExp;
    private final AttentionShape shape;
    private final int size;
    private final int queryStride;
    private final int keyStride;
    private final long query;
    private final long key;
    private final long value;
    private final long outRow;
    private final int head;

    /** Position of the tile's first query among the keys. */
    private final int position;

    private final int keys;
    private final float[] maximum = new float[QUERY_TILE];
    private final float[] sum = new float[QUERY_TILE];

    Tile(
        HostTensor out,
        HostTensor logSumExp,
        HostTensor q,
        HostTensor k,
        HostTensor v,
        AttentionShape shape,
        int queries,
        int keys,
        int sequence,
        int head,
        int tile) {
      this.out = out;
      this.logSumExp = logSumExp;
      this.shape = shape;
      this.keys = keys;
      this.head = head;
      int first = tile * QUERY_TILE;
      this.size = Math.min(QUERY_TILE, queries - first);
      this.queryStride = shape.queryHeads() * shape.headDim();
      this.keyStride = shape.kvHeads() * shape.headDim();
      this.outRow = (long) sequence * queries + first;
      this.query = q.address() + 4 * (outRow * queryStride + (long) head * shape.headDim());
      int group = shape.queryHeads() / shape.kvHeads();
      long keyStart = (long) sequence * keys * keyStride + (long) head / group * shape.headDim();
      this.key = k.address() + 4 * keyStart;
      this.value = v.address() + 4 * keyStart;
      this.position = first + keys - queries;
    }

    void run() {
      Scratch scratch = Scratch.ofThread();
      Scratch.OffHeap scores = scratch.offHeap(0, QUERY_TILE * KEY_TILE);
      Scratch.OffHeap result = scratch.offHeap(1, QUERY_TILE * shape.headDim());
      float[] row = scratch.array(0, Math.max(KEY_TILE, shape.headDim()));
      Arrays.fill(maximum, Float.NEGATIVE_INFINITY);
      int from = firstKey(position, shape.window());
      int to = Math.min(keys, position + size);
      for (int first = from / KEY_TILE * KEY_TILE; first < to; first += KEY_TILE) {
        int start = Math.max(first, from);
        int count = Math.min(first + KEY_TILE, to) - start;
        boolean fresh = start == from;
        scores(scores, start, count);
        softmax(scores, result, row, start, count, fresh);
        weigh(result, scores, start, count, fresh);
      }
      finish(result, row);
    }

    /** scores = scale · q · kᵀ where visible, in a staircase of {@link #STEP} rows. */
    private void scores(Scratch.OffHeap scores, int start, int count) {
      int done = 0;
      for (int first = 0; first < size && done < count; first += STEP) {
        int end = visible(first, start, count);
        if (end > done) {
          OpenBlas.sgemm(
              false,
              true,
              size - first,
              end - done,
              shape.headDim(),
              shape.scale(),
              query + 4L * first * queryStride,
              queryStride,
              key + 4L * (start + done) * keyStride,
              keyStride,
              0f,
              scores.address + 4L * (first * KEY_TILE + done),
              KEY_TILE);
          done = end;
        }
      }
    }

    /** result (+)= scores · v where visible, in the same staircase. */
    private void weigh(
        Scratch.OffHeap result, Scratch.OffHeap scores, int start, int count, boolean fresh) {
      int done = 0;
      for (int first = 0; first < size && done < count; first += STEP) {
        int end = visible(first, start, count);
        if (end > done) {
          OpenBlas.sgemm(
              false,
              false,
              size - first,
              shape.headDim(),
              end - done,
              1f,
              scores.address + 4L * (first * KEY_TILE + done),
              KEY_TILE,
              value + 4L * (start + done) * keyStride,
              keyStride,
              fresh && done == 0 ? 0f : 1f,
              result.address + 4L * first * shape.headDim(),
              shape.headDim());
          done = end;
        }
      }
    }

    /** How many keys of a tile the last query of a step sees: the next steps see them all. */
    private int visible(int firstRow, int start, int count) {
      return Math.min(count, position + Math.min(firstRow + STEP, size) - start);
    }

    private void softmax(
        Scratch.OffHeap scores,
        Scratch.OffHeap result,
        float[] row,
        int start,
        int count,
        boolean fresh) {
      for (int i = 0; i < size; i++) {
        int from = Math.max(0, firstKey(position + i, shape.window()) - start);
        int to = Math.min(count, position + i + 1 - start);
        if (from >= to) {
          Arrays.fill(row, 0, count, 0f);
          scores.store(i * KEY_TILE, row, count);
          continue;
        }
        scores.load(i * KEY_TILE, row, count);
        float before = maximum[i];
        float now = Math.max(before, Softmax.max(row, from, to));
        Arrays.fill(row, 0, from, 0f);
        Arrays.fill(row, to, count, 0f);
        float added = (float) Softmax.expAndSum(row, from, to, now);
        scores.store(i * KEY_TILE, row, count);
        maximum[i] = now;
        float shrink = before == now ? 1f : Maths.exp(before - now);
        sum[i] = sum[i] * shrink + added;
        if (!fresh && shrink != 1f) {
          int width = shape.headDim();
          result.load(i * width, row, width);
          for (int c = 0; c < width; c++) {
            row[c] *= shrink;
          }
          result.store(i * width, row, width);
        }
      }
    }

    private void finish(Scratch.OffHeap result, float[] row) {
      int width = shape.headDim();
      for (int i = 0; i < size; i++) {
        result.load(i * width, row, width);
        float inverse = 1f / sum[i];
        for (int c = 0; c < width; c++) {
          row[c] *= inverse;
        }
        out.store((outRow + i) * queryStride + (long) head * width, row, 0, width);
        if (logSumExp != null) {
          float value = (float) (maximum[i] + StrictMath.log(sum[i]));
          logSumExp.f32((outRow + i) * shape.queryHeads() + head, value);
        }
      }
    }
  }

  /** The first key that a query at this position sees. */
  static int firstKey(int position, int window) {
    return window == 0 ? 0 : Math.max(0, position - window + 1);
  }
}

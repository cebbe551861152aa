package org.mixedgpu.backend.cuda;

import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.tensor.DType;

/**
 * Operands of attention, checked already, and the sizes that follow from them.
 *
 * @param q [batch·queries, queryHeads·headDim]
 * @param k [batch·keys, kvHeads·headDim]
 * @param v like k
 */
record AttentionCall(AttentionShape shape, CudaTensor q, CudaTensor k, CudaTensor v) {
  /** Statistics of queries are held for a multiple of so many, so that kernels read whole tiles. */
  private static final int PADDING = 128;

  DType type() {
    return q.type();
  }

  /** Queries of one sequence. */
  int queries() {
    return Math.toIntExact(q.shape().rows() / shape.batch());
  }

  /** Keys of one sequence. */
  int keys() {
    return Math.toIntExact(k.shape().rows() / shape.batch());
  }

  /** 0 where it reaches every key: sums of positions and windows stay small then. */
  int window() {
    return shape.window() >= keys() ? 0 : shape.window();
  }

  /** Heads of all sequences. */
  long queryHeads() {
    return (long) shape.batch() * shape.queryHeads();
  }

  long kvHeads() {
    return (long) shape.batch() * shape.kvHeads();
  }

  int padded() {
    return Math.multiplyExact(tiles(queries(), PADDING), PADDING);
  }

  /** Bytes of what the backward kernels keep of each query: two numbers. */
  long statisticsBytes() {
    return queryHeads() * padded() * 2 * Float.BYTES;
  }

  /** Tiles of so many rows. */
  static int tiles(int rows, int tile) {
    return (int) (((long) rows + tile - 1) / tile);
  }

  /** Whether q, k, v and the others lie at multiples of 16 bytes. */
  boolean aligned(CudaTensor... others) {
    long bits = q.pointer() | k.pointer() | v.pointer();
    for (CudaTensor other : others) {
      bits |= other.pointer();
    }
    return bits % 16 == 0;
  }
}

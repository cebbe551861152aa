package org.mixedgpu.backend.cuda;

import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * How a kernel of attention for Hopper is cut, as measured on an H200.
 *
 * @param consumers warpgroups that compute, beside one that loads
 * @param other rows of the other side at a time
 * @param stages tiles of the other side on their way
 * @param parts of dQ that may wait to be added; 0 where a kernel has none
 */
record HopperTiles(int consumers, int other, int stages, int parts) {
  /** Rows of a warpgroup. */
  static final int ROWS = 64;

  /** Both sides of a step of the backward pass in one go. */
  static final HopperTiles ONE_PASS = new HopperTiles(2, 64, 2, 2);

  /** The passes of a head size of 64 or 128. */
  static HopperTiles of(AttentionPass pass, int headDim) {
    boolean wide = headDim == 128;
    switch (pass) {
      case FORWARD:
        return new HopperTiles(wide ? 2 : 3, 128, 2, 0);
      case BACKWARD_QUERIES:
        return new HopperTiles(2, 64, 4, 0);
      case BACKWARD_KEYS:
        return new HopperTiles(2, 64, wide ? 2 : 4, 0);
    }
    throw new MixedGpuException(Fault.BUG, "No tiles for " + pass);
  }

  /**
   * Whether one pass gives the gradients sooner than two kernels. Its blocks add their parts of dQ
   * in turn: those that start on the same queries together wait for one another once, about a step
   * each, which must be little against all steps of a block.
   */
  static boolean onePass(AttentionCall call, int multiprocessors) {
    return onePass(call.shape(), call.queries(), call.keys(), multiprocessors);
  }

  static boolean onePass(AttentionShape shape, int queries, int keys, int multiprocessors) {
    if (shape.headDim() != 128) {
      return false;
    }
    long tiles = AttentionCall.tiles(keys, ONE_PASS.own());
    long seen = AttentionCall.tiles(queries, ONE_PASS.own());
    if (shape.window() > 0) {
      seen = Math.min(seen, 2L * (shape.window() / ONE_PASS.own() + 1));
    }
    long heads = (long) shape.batch() * shape.kvHeads();
    long together = Math.max(1, Math.min(tiles, multiprocessors / heads));
    long steps = (long) shape.batch() * shape.queryHeads() * tiles * seen / multiprocessors;
    return steps >= 32 * together;
  }

  /** Rows that a block owns. */
  int own() {
    return consumers * ROWS;
  }

  int threads() {
    return (consumers + 1) * 128;
  }

  /** Alignment, two own tiles, two of the other side with statistics, barriers, parts of dQ. */
  int bytes(int headDim) {
    int common =
        1024
            + 2 * own() * headDim * 2
            + stages * (2 * other * headDim * 2 + other * 8)
            + 16
            + stages * 32;
    return parts == 0
        ? common
        : common + 2 * own() * other * 2 + parts * (other * headDim * Float.BYTES + 16) + 8;
  }

  String[] defines(String kernel, int headDim) {
    return new String[] {
      kernel,
      "HEAD=" + headDim,
      "CONSUMERS=" + consumers,
      "OTHER=" + other,
      "STAGES=" + stages,
      "PARTS=" + parts
    };
  }
}

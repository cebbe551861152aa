package org.mixedgpu.backend.cuda;

import java.util.List;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * How a kernel of attention.sm70 is cut.
 *
 * @param warps of a block
 * @param fragments of 16 rows that a warp owns
 * @param other rows of the other side at a time
 * @param split blocks that share the columns of dK and dV
 */
record AttentionTiles(int warps, int fragments, int other, int split) {
  /**
   * The fastest that fits, measured on an H200 among those whose sums stay in registers.
   *
   * @param headDim a multiple of 16, up to 256
   * @param sharedBytes that a block may have; 64 KiB, Turing's, the least of all GPUs that run
   *     these kernels, is enough
   */
  static AttentionTiles choose(AttentionPass pass, int headDim, int sharedBytes) {
    for (AttentionTiles tiles : candidates(pass, headDim)) {
      if (tiles.bytes(pass, headDim) <= sharedBytes) {
        return tiles;
      }
    }
    throw new MixedGpuException(
        Fault.BUG,
        String.format(
            "No tiles of %s for head size %d fit into %d bytes of shared memory",
            pass, headDim, sharedBytes));
  }

  private static List<AttentionTiles> candidates(AttentionPass pass, int headDim) {
    boolean large = headDim > 128;
    switch (pass) {
      case FORWARD:
        return List.of(
            new AttentionTiles(4, large ? 1 : 2, headDim <= 64 ? 64 : 32, 1),
            new AttentionTiles(4, 1, 16, 1));
      case BACKWARD_QUERIES:
        return List.of(
            new AttentionTiles(4, large ? 1 : 2, 32, 1),
            new AttentionTiles(4, 1, 32, 1),
            new AttentionTiles(4, 1, 16, 1),
            new AttentionTiles(2, 1, 16, 1),
            new AttentionTiles(1, 1, 16, 1));
      case BACKWARD_KEYS:
        int split = large ? 2 : 1;
        return List.of(
            new AttentionTiles(large ? 4 : 8, 1, large ? 32 : 64, split),
            new AttentionTiles(4, 1, 32, split),
            new AttentionTiles(4, 1, 16, split),
            new AttentionTiles(2, 1, 16, split),
            new AttentionTiles(1, 1, 16, split));
    }
    throw new MixedGpuException(Fault.BUG, "No tiles for " + pass);
  }

  /** Rows that a block owns. */
  int own() {
    return warps * fragments * 16;
  }

  int threads() {
    return warps * 32;
  }

  /** Shared memory: rows padded by 16 bytes, those of the other side twice while more arrive. */
  int bytes(AttentionPass pass, int headDim) {
    int row = 2 * headDim + 16;
    return pass == AttentionPass.FORWARD
        ? row * (own() + 2 * other)
        : row * (2 * own() + 4 * other) + 16 * other;
  }
}

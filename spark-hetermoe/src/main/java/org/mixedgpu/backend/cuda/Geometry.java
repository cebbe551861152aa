package org.mixedgpu.backend.cuda;

import org.mixedgpu.tensor.DType;

/** How work is cut into blocks of threads, the same way for all kernels that stream memory. */
final class Geometry {
  /** Threads of a block unless a kernel says otherwise. */
  static final int THREADS = 256;

  /** AHEAD in the kernels' prelude: accesses that a thread has in flight. */
  static final int AHEAD = 4;

  /** Shared memory that kernels have besides what a launch gives them, at most. */
  static final int STATIC_BYTES = 4 << 10;

  /** What one access moves where the address allows it. */
  private static final int ACCESS_BYTES = 16;

  private Geometry() {}

  /** Work over size, rounded up. */
  static long parts(long work, long size) {
    return (work + size - 1) / size;
  }

  /** Elements of 16 bytes. */
  static int packed(DType type) {
    return ACCESS_BYTES / type.bytes();
  }

  /** Whether all start at a multiple of 16 bytes. */
  static boolean aligned(CudaTensor... tensors) {
    for (CudaTensor tensor : tensors) {
      if (tensor != null && tensor.pointer() % ACCESS_BYTES != 0) {
        return false;
      }
    }
    return true;
  }

  /** Elements per access to rows of this width; the kernels decide by the same rule. */
  static int access(long width, CudaTensor... matrices) {
    int packed = packed(matrices[0].type());
    return width % packed == 0 && aligned(matrices) ? packed : 1;
  }

  /** Threads for this many accesses to a row: a power of two, from 1 to the most. */
  static int lanes(long accesses, int most) {
    return accesses <= 1 ? 1 : (int) Math.min(most, Long.highestOneBit(accesses - 1) << 1);
  }

  /**
   * A matrix cut into slabs of columns, an access per lane, and parts of rows.
   *
   * @param lanes threads side by side in a row
   * @param slabs the grid's y
   * @param rowsPerBlock rows of a part
   * @param parts the grid's x
   */
  record Slabs(int lanes, long slabs, int rowsPerBlock, long parts) {
    /**
     * @param access elements per access
     * @param mostParts about so many blocks at most; 0 for as many as there is work
     */
    static Slabs of(long rows, long width, int access, long mostParts) {
      int lanes = Geometry.lanes(Geometry.parts(width, access), THREADS);
      long slabs = Geometry.parts(width, (long) lanes * access);
      long rowsPerBlock = (long) THREADS / lanes * AHEAD;
      if (mostParts > 0 && slabs > 0) {
        long parts = Math.max(1, mostParts / slabs);
        rowsPerBlock = Math.max(rowsPerBlock, Geometry.parts(rows, parts));
      }
      return new Slabs(
          lanes, slabs, Math.toIntExact(rowsPerBlock), Geometry.parts(rows, rowsPerBlock));
    }
  }
}

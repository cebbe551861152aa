package org.mixedgpu.backend.cuda;

import org.mixedgpu.tensor.DType;

/**
 * Which kernel multiplies groups of rows, and with which tiles: a pure choice from what is known on
 * the host. The sizes of single groups are not.
 *
 * @param file the kernel file
 * @param rows of a tile of the result that a block computes at a time
 * @param cols of the same
 * @param threads of a block
 * @param blocksPerMultiprocessor that fit at once
 * @param cluster blocks that work on neighbouring tiles
 * @param sharedBytes dynamic shared memory of a block
 * @param defines for the compiler
 */
record GroupedTiles(
    String file,
    int rows,
    int cols,
    int threads,
    int blocksPerMultiprocessor,
    int cluster,
    int sharedBytes,
    String... defines) {

  /** The three products; the letters say how the operands lie, N as is and T transposed. */
  enum Product {
    NT,
    NN,
    TN;

    String function() {
      return "grouped_" + name().toLowerCase(java.util.Locale.ROOT);
    }
  }

  private static final GroupedTiles ANY = new GroupedTiles("grouped_gemm", 128, 128, 256, 2, 1, 0);

  /** What the copy engine, cp.async and 16-byte loads need of pointers and of rows. */
  static boolean aligned(DType type, int n, int k, long... pointers) {
    long bits = (long) n * type.bytes() | (long) k * type.bytes();
    for (long pointer : pointers) {
      bits |= pointer;
    }
    return bits % 16 == 0;
  }

  /**
   * The variant for a device and a product.
   *
   * @param arch compute capability times ten
   * @param sharedBytes most dynamic shared memory of a block
   * @param type the compute type
   * @param aligned see {@link #aligned}
   * @param rows of all groups
   */
  static GroupedTiles choose(
      int arch,
      int sharedBytes,
      DType type,
      boolean aligned,
      Product product,
      long rows,
      int experts) {
    boolean tensorCores = type == DType.F16 && arch >= 75 || type == DType.BF16 && arch >= 80;
    // Without rows there is no tensor to describe to the copy engine, and nothing to compute.
    if (!tensorCores || !aligned || rows == 0) {
      return ANY;
    }
    if (arch == 90) {
      return hopper(product, rows, experts);
    }
    return product != Product.TN && sharedBytes >= 3 * (128 + 256) * 64 * 2
        ? warps(128, 256, 64, 3, 1)
        : warps(128, 128, 32, arch >= 80 ? 3 : 2, arch >= 80 ? 2 : 1);
  }

  private static GroupedTiles hopper(Product product, long rows, int experts) {
    return copied(128, 256, 4, false, 1, false);
  }

  /** Eight warps in two rows, fed by their own threads. */
  private static GroupedTiles warps(int m, int n, int k, int stages, int blocks) {
    return new GroupedTiles(
        "grouped_gemm.sm75",
        m,
        n,
        256,
        blocks,
        1,
        stages * (m + n) * k * 2,
        "BM=" + m,
        "BN=" + n,
        "BK=" + k,
        "STAGES=" + stages,
        "WARPS_M=2",
        "WARPS_N=4");
  }

  /** Two warpgroups, fed by the copy engine. */
  private static GroupedTiles copied(
      int m, int n, int stages, boolean pingPong, int cluster, boolean shareLeft) {
    return new GroupedTiles(
        "grouped_gemm.sm90",
        m,
        n,
        384,
        1,
        cluster,
        stages * (m + n) * 128 + 1024,
        "BM=" + m,
        "BN=" + n,
        "STAGES=" + stages,
        "PINGPONG=" + (pingPong ? 1 : 0),
        "CLUSTER=" + cluster,
        "SHARE_A=" + (shareLeft ? 1 : 0));
  }

  /** Whether its operands are tensor maps. */
  boolean copied() {
    return file.endsWith(".sm90");
  }
}

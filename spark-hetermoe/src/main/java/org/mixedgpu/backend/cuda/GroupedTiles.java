package org.mixedgpu.backend.cuda;

import java.util.Locale;
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
 * @param sharedBytes dynamic shared memory of a block
 * @param defines for the compiler
 */
record GroupedTiles(
    String file,
    int rows,
    int cols,
    int threads,
    int blocksPerMultiprocessor,
    int sharedBytes,
    String... defines) {

  /** The three products; the letters say how the operands lie, N as is and T transposed. */
  enum Product {
    NT,
    NN,
    TN;

    String function() {
      return "grouped_" + name().toLowerCase(Locale.ROOT);
    }
  }

  private static final GroupedTiles ANY = new GroupedTiles("grouped_gemm", 128, 128, 256, 2, 0);

  /**
   * On Volta two quad pairs of a warp read each operand, and shared memory is what is short: four
   * warps of 64 by 64 read a third less than eight of 64 by 32. With 32 summed indexes their
   * registers would not do.
   */
  private static final GroupedTiles WARPS_SM70 = warps(128, 128, 16, 2, 2, 2);

  private static final GroupedTiles WARPS_SM75 = warps(128, 128, 32, 4, 2, 1);
  private static final GroupedTiles WARPS = warps(128, 128, 32, 4, 3, 2);
  private static final GroupedTiles WIDE_WARPS = warps(128, 256, 64, 4, 3, 1);

  private static final GroupedTiles SHARED_TILES = copied("grouped_gemm.sm90", 256, 4, false, 0);
  private static final GroupedTiles OWN_TILES = copied("grouped_gemm.sm90", 192, 5, true, 0);

  /** Above this many summed indexes, storing results is too little of the work to be hidden. */
  private static final int LONG_SUM = 4096;

  private static final GroupedTiles GRADIENT = gradient(256, 4, false, 2);
  private static final GroupedTiles SHORT_GRADIENT = gradient(256, 3, false, 4);

  /** Rows of a group, on average, up to which a weight gradient is mostly storing of results. */
  private static final int SHORT_GROUP = 1024;

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
   * @param experts how many groups there are
   * @param n of w[experts,n,k]
   * @param k of the same
   */
  static GroupedTiles choose(
      int arch,
      int sharedBytes,
      DType type,
      boolean aligned,
      Product product,
      long rows,
      int experts,
      int n,
      int k) {
    boolean tensorCores = type == DType.F16 || type == DType.BF16 && arch >= 80;
    // The copy engine can't be told of tensors without elements.
    boolean empty = rows == 0 || experts == 0 || n == 0 || k == 0;
    if (!tensorCores || !aligned || empty) {
      return ANY;
    }
    if (arch == 90) {
      if (product == Product.TN) {
        return rows <= (long) SHORT_GROUP * experts ? SHORT_GRADIENT : GRADIENT;
      }
      return hopper(product, n, k);
    }
    if (arch < 80) {
      return arch < 75 ? WARPS_SM70 : WARPS_SM75;
    }
    return product != Product.TN && sharedBytes >= WIDE_WARPS.sharedBytes ? WIDE_WARPS : WARPS;
  }

  /**
   * Tiles of their own for each warpgroup hide the stores, which counts where sums are short,
   * unless their width suits the columns worse.
   */
  private static GroupedTiles hopper(Product product, int n, int k) {
    int cols = product == Product.NT ? n : k;
    int sum = product == Product.NT ? k : n;
    boolean suits = OWN_TILES.padded(cols) <= SHARED_TILES.padded(cols) * 1.04;
    return suits && sum <= LONG_SUM ? OWN_TILES : SHARED_TILES;
  }

  private long padded(int columns) {
    return (columns + cols - 1L) / cols * cols;
  }

  /** Warps in two rows, so many in each, fed by their own threads. */
  private static GroupedTiles warps(int m, int n, int k, int across, int stages, int blocks) {
    return new GroupedTiles(
        "grouped_gemm.sm70",
        m,
        n,
        2 * across * 32,
        blocks,
        stages * (m + n) * k * 2,
        "BM=" + m,
        "BN=" + n,
        "BK=" + k,
        "STAGES=" + stages,
        "WARPS_M=2",
        "WARPS_N=" + across);
  }

  /**
   * The weight gradient on Hopper.
   *
   * @param cols of a tile of 128 rows
   * @param stages of 64 summed rows on their way
   * @param own whether each of the two warpgroups has tiles of its own
   * @param strips of 64 by 32 sums of each warpgroup that the copy engine may have yet to read;
   *     they divide those of a tile
   */
  static GroupedTiles gradient(int cols, int stages, boolean own, int strips) {
    return copied("grouped_gradient.sm90", cols, stages, own, strips);
  }

  /** Two warpgroups, fed by the copy engine. */
  private static GroupedTiles copied(String file, int cols, int stages, boolean own, int strips) {
    int rows = 128;
    return new GroupedTiles(
        file,
        rows,
        cols,
        384,
        1,
        stages * (rows + cols) * 128 + 2 * strips * 64 * 32 * Float.BYTES + 1024,
        "BM=" + rows,
        "BN=" + cols,
        "STAGES=" + stages,
        "PINGPONG=" + (own ? 1 : 0),
        "STRIPS=" + strips);
  }

  /** Whether its operands are tensor maps. */
  boolean copied() {
    return file.endsWith(".sm90");
  }
}

package org.mixedgpu.backend.cuda;

import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;

/** Stable counting sorts of indexes; {@code sort.cu}. */
final class CudaSort {
  private static final String FILE = "sort";

  /** TILE in the kernel file: keys per block. */
  private static final int TILE = 2048;

  /** Shared memory per bin: a count per warp of a block, and where the bin starts. */
  private static final int BYTES_PER_BIN = 9 * Integer.BYTES;

  /** Bits of a digit: 512 bins fit into the shared memory that every GPU has. */
  private static final int MOST_DIGIT_BITS = 9;

  /** Keys in ascending order, and where each came from. */
  record Pairs(CudaTensor keys, CudaTensor order) {}

  private final CudaDevice device;

  CudaSort(CudaDevice device) {
    this.device = device;
  }

  /** Of {@link org.mixedgpu.backend.Backend#sortByExpert}. */
  void byExpert(CudaTensor slotOf, CudaTensor rowOf, CudaTensor offsets, CudaTensor experts) {
    int bins = Math.toIntExact(offsets.shape().rows() - 1);
    long n = size(experts);
    int most = (device.sharedBytesPerBlock() - Geometry.STATIC_BYTES) / BYTES_PER_BIN;
    Check.input(
        bins <= most, "sortByExpert on %s takes at most %d experts; found %d", device, most, bins);
    Check.input(
        bins > 0 || n == 0, "sortByExpert needs experts in [0, 0); found %d of them to sort", n);
    Digit digit = new Digit(n, bins, 0, 0, -1, bins, IndexFault.SORT_BY_EXPERT_EXPERT);
    Counts counts = count(experts, digit);
    kernel("placeChoices")
        .launch(
            digit.tiles(),
            1,
            1,
            Geometry.THREADS,
            bins * BYTES_PER_BIN,
            slotOf,
            rowOf,
            offsets,
            counts.byTile,
            counts.totals,
            experts,
            n,
            bins,
            (int) experts.shape().dim(1),
            device.faults().pointer());
  }

  /**
   * Sorts by index, from the lowest digit to the highest. What lies outside [0, limit) becomes
   * limit and so comes last. The result is scratch memory.
   */
  Pairs byRow(CudaTensor index, long limit) {
    long n = size(index);
    int bits = Long.SIZE - Long.numberOfLeadingZeros(limit);
    int passes = (int) Geometry.parts(bits, MOST_DIGIT_BITS);
    int digitBits = (int) Geometry.parts(bits, passes);
    int bins = 1 << digitBits;
    CudaTensor keys = index;
    CudaTensor order = null;
    for (int pass = 0; pass < passes; pass++) {
      // After the first pass what was refused is a valid key.
      Digit digit =
          new Digit(
              n,
              pass == 0 ? limit : limit + 1,
              Math.toIntExact(limit),
              pass * digitBits,
              bins - 1,
              bins,
              IndexFault.SCATTER_ADD_ROWS_INDEX);
      Counts counts = count(keys, digit);
      CudaTensor keysOut = scratch("sorted keys " + pass % 2, n);
      CudaTensor orderOut = scratch("sorted order " + pass % 2, n);
      kernel("placePairs")
          .launch(
              digit.tiles(),
              1,
              1,
              Geometry.THREADS,
              bins * BYTES_PER_BIN,
              keysOut,
              orderOut,
              counts.byTile,
              counts.totals,
              keys,
              order,
              n,
              digit.limit,
              digit.instead,
              digit.shift,
              digit.mask,
              bins,
              digit.which.number(),
              device.faults().pointer());
      keys = keysOut;
      order = orderOut;
    }
    return new Pairs(keys, order);
  }

  /** What one pass sorts by; see the kernel file. */
  private record Digit(
      long n, long limit, int instead, int shift, int mask, int bins, IndexFault which) {
    long tiles() {
      return Math.max(1, Geometry.parts(n, TILE));
    }
  }

  private record Counts(CudaTensor byTile, CudaTensor totals) {}

  /** How many keys of each bin come before each tile; nothing for a single tile. */
  private Counts count(CudaTensor keys, Digit digit) {
    if (digit.tiles() == 1) {
      return new Counts(null, null);
    }
    CudaTensor byTile = scratch("sort counts", digit.bins * digit.tiles());
    CudaTensor totals = scratch("sort totals", digit.bins);
    kernel("countTiles")
        .launch(
            digit.tiles(),
            1,
            1,
            Geometry.THREADS,
            digit.bins * Integer.BYTES,
            byTile,
            keys,
            digit.n,
            digit.limit,
            digit.instead,
            digit.shift,
            digit.mask,
            digit.bins,
            digit.which.number(),
            device.faults().pointer());
    kernel("scanTiles")
        .launch(
            digit.bins, 1, 1, Geometry.THREADS, 0, byTile, totals, Math.toIntExact(digit.tiles()));
    return new Counts(byTile, totals);
  }

  private CudaTensor scratch(String slot, long integers) {
    return device.scratch().bytes(slot, integers * Integer.BYTES);
  }

  private static long size(CudaTensor indexes) {
    long n = indexes.shape().elements();
    Check.input(
        n <= Integer.MAX_VALUE, "A sort takes at most %d indexes; found %d", Integer.MAX_VALUE, n);
    return n;
  }

  private Kernel kernel(String function) {
    return device.kernels().get(FILE, function, DType.F32);
  }
}

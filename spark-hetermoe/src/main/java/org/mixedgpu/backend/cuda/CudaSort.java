package org.mixedgpu.backend.cuda;

import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;

/** Stable counting sorts of indexes; {@code sort.cu}. */
final class CudaSort {
  private static final String FILE = "sort";

  /** ROUND_BITS in the kernel file: 2048 keys that a block takes at a time. */
  private static final int ROUND_BITS = 11;

  /** About a block for each multiprocessor; every block adds up the counts of all tiles. */
  private static final int MOST_TILES = 128;

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
    CudaTensor counts = count(experts, digit, 1);
    kernel("placeChoices")
        .launch(
            digit.tiles(),
            1,
            1,
            Geometry.THREADS,
            bins * BYTES_PER_BIN,
            device
                .arguments()
                .add(slotOf)
                .add(rowOf)
                .add(offsets)
                .add(counts)
                .add(experts)
                .add(n)
                .add(bins)
                .add(digit.tileBits())
                .add((int) experts.shape().dim(1))
                .add(device.faults().pointer()));
  }

  /**
   * Sorts by index, from the lowest digit to the highest. What lies outside [0, limit) becomes
   * limit and so comes last. The result is scratch memory.
   */
  Pairs byRow(CudaTensor index, long limit) {
    long n = size(index);
    Check.input(limit > 0, "scatterAddRows needs index in [0, 0); found %d of them to add", n);
    int bits = Long.SIZE - Long.numberOfLeadingZeros(limit);
    int passes = (int) Geometry.parts(bits, MOST_DIGIT_BITS);
    int digitBits = (int) Geometry.parts(bits, passes);
    int bins = 1 << digitBits;
    IndexFault which = IndexFault.SCATTER_ADD_ROWS_INDEX;
    Digit first = new Digit(n, limit, Math.toIntExact(limit), 0, bins - 1, bins, which);
    CudaTensor counts = count(index, first, passes);
    CudaTensor keys = index;
    CudaTensor order = null;
    for (int pass = 0; pass < passes; pass++) {
      CudaTensor keysOut = scratch("sorted keys " + pass % 2, n);
      CudaTensor orderOut = scratch("sorted order " + pass % 2, n);
      // The limit: after the first pass what was refused is a valid key.
      kernel("placePairs")
          .launch(
              first.tiles(),
              1,
              1,
              Geometry.THREADS,
              bins * BYTES_PER_BIN,
              device
                  .arguments()
                  .add(keysOut)
                  .add(orderOut)
                  .add(first.counts(counts, pass))
                  .add(pass + 1 < passes ? first.counts(counts, pass + 1) : null)
                  .add(keys)
                  .add(order)
                  .add(n)
                  .add(pass == 0 ? limit : limit + 1)
                  .add(first.instead)
                  .add(pass * digitBits)
                  .add((pass + 1) * digitBits)
                  .add(first.mask)
                  .add(bins)
                  .add(first.tileBits())
                  .add(which.number())
                  .add(device.faults().pointer()));
      keys = keysOut;
      order = orderOut;
    }
    return new Pairs(keys, order);
  }

  /** What a pass sorts by; see the kernel file. */
  private record Digit(
      long n, long limit, int instead, int shift, int mask, int bins, IndexFault which) {
    int tileBits() {
      int bits = ROUND_BITS;
      while (Geometry.parts(n, 1L << bits) > MOST_TILES) {
        bits++;
      }
      return bits;
    }

    long tiles() {
      return Math.max(1, Geometry.parts(n, 1L << tileBits()));
    }

    /** Those of one pass among the counts of all; null where there are none. */
    CudaTensor counts(CudaTensor all, int pass) {
      return all == null ? null : all.rows(pass * tiles() * bins, tiles() * bins);
    }
  }

  /**
   * How many keys of each bin each tile has, with room for later passes; null for a single tile.
   */
  private CudaTensor count(CudaTensor keys, Digit digit, int passes) {
    if (digit.tiles() == 1) {
      return null;
    }
    long size = digit.tiles() * digit.bins;
    CudaTensor counts = scratch("sort counts", passes * size);
    kernel("countTiles")
        .launch(
            digit.tiles(),
            1,
            1,
            Geometry.THREADS,
            digit.bins * Integer.BYTES,
            device
                .arguments()
                .add(counts)
                .add(keys)
                .add(digit.n)
                .add(digit.limit)
                .add(digit.instead)
                .add(digit.shift)
                .add(digit.mask)
                .add(digit.bins)
                .add(digit.tileBits())
                .add(Math.toIntExact((passes - 1) * size))
                .add(digit.which.number())
                .add(device.faults().pointer()));
    return counts;
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

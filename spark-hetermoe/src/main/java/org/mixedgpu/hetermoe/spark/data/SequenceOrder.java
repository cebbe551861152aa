package org.mixedgpu.hetermoe.spark.data;

import org.mixedgpu.base.Check;

/**
 * The order in which sequences are trained on: for each seed and epoch one permutation, computed
 * per index and held nowhere, so that every member, also a restarted one, agrees without talking.
 *
 * <p>A Feistel network of four rounds over the smallest even number of bits that holds the count;
 * an image beyond the count is mapped again until it is not ("cycle walking"), which keeps it a
 * permutation. Fewer than four applications are expected.
 */
final class SequenceOrder {
  private static final int ROUNDS = 4;

  private final long count;
  private final long seed;
  private final int halfBits;

  SequenceOrder(long count, long seed) {
    Check.input(count > 0, "There is no sequence to order; found %d", count);
    this.count = count;
    this.seed = seed;
    int bits = 64 - Long.numberOfLeadingZeros(Math.max(1, count - 1));
    halfBits = (bits + 1) / 2;
  }

  /** The sequence at this position of the run; each epoch visits every sequence once. */
  long at(long position) {
    long epoch = position / count;
    long image = position % count;
    do {
      image = permuted(image, epoch);
    } while (image >= count);
    return image;
  }

  private long permuted(long index, long epoch) {
    long mask = (1L << halfBits) - 1;
    long left = index >>> halfBits;
    long right = index & mask;
    for (int round = 0; round < ROUNDS; round++) {
      long next = left ^ (mixed(right, epoch, round) & mask);
      left = right;
      right = next;
    }
    return left << halfBits | right;
  }

  private long mixed(long value, long epoch, int round) {
    return mix(mix(mix(seed) + epoch) + value * ROUNDS + round);
  }

  /** The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection that spreads every bit. */
  private static long mix(long z) {
    long a = (z + 0x9e3779b97f4a7c15L);
    long b = (a ^ (a >>> 30)) * 0xbf58476d1ce4e5b9L;
    long c = (b ^ (b >>> 27)) * 0x94d049bb133111ebL;
    return c ^ (c >>> 31);
  }
}

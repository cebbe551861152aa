package org.mixedgpu.cake.plan;

import org.mixedgpu.base.Check;

/**
 * What computing a chunk costs on one device. Attention looks back at all chunks before, so that a
 * chunk costs more the further back it lies, each by about the same.
 *
 * @param first nanoseconds of chunk 0
 * @param growth nanoseconds that each chunk costs more than the one before it
 */
public record ComputeCost(double first, double growth) {
  public ComputeCost {
    Check.input(
        first >= 0 && growth >= 0 && first + growth < Double.POSITIVE_INFINITY,
        "A chunk costs 0 nanoseconds or more, and not less than the one before; found %s and %s",
        first,
        growth);
  }

  /** Nanoseconds of one chunk. */
  public double of(int chunk) {
    return first + growth * chunk;
  }

  /** Nanoseconds of all chunks from one to before another; 0 where there are none. */
  public double of(int from, int to) {
    int chunks = Math.max(0, to - from);
    return chunks * (of(from) + growth * (chunks - 1) / 2.0);
  }
}

package org.mixedgpu.cake.prefill;

import java.util.Optional;
import org.mixedgpu.cake.plan.ComputeCost;

/**
 * How long chunks took to compute lately: the straight line through them by position that fits
 * best, older ones weighing less. Any thread.
 */
final class ComputePace {
  /** What a measurement weighs when the next one comes. */
  private static final double OLD = 1 - 1 / 32.0;

  private double weight;
  private double chunks;
  private double squares;
  private double nanos;
  private double products;

  synchronized void computed(int chunk, long took) {
    weight = OLD * weight + 1;
    chunks = OLD * chunks + chunk;
    squares = OLD * squares + (double) chunk * chunk;
    nanos = OLD * nanos + took;
    products = OLD * products + (double) chunk * took;
  }

  /** Empty before the first. */
  synchronized Optional<ComputeCost> cost() {
    if (weight == 0) {
      return Optional.empty();
    }
    double spread = weight * squares - chunks * chunks;
    // Of one position only, the line is level; noise may make it fall, or start below 0.
    boolean level = spread < 1e-6 * weight * weight;
    double growth = level ? 0 : Math.max(0, (weight * products - chunks * nanos) / spread);
    double first = (nanos - growth * chunks) / weight;
    return Optional.of(
        first >= 0 ? new ComputeCost(first, growth) : new ComputeCost(0, nanos / chunks));
  }
}

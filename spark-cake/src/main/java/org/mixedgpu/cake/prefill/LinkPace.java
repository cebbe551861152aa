package org.mixedgpu.cake.prefill;

import java.util.Optional;
import org.mixedgpu.cake.plan.LinkCost;

/** How long reads took lately: running means, in nanoseconds. Any thread. */
final class LinkPace {
  private static final double NEW = 0.3;

  /** A link may have become faster in the meantime, and only a read can tell. */
  private static final int FORGOTTEN_AFTER = 16;

  private double alone;
  private double apart;
  private double atLeast;
  private int prompts;

  /** A prompt begins for which something is stored. */
  synchronized void prompt() {
    if (prompts++ == FORGOTTEN_AFTER) {
      alone = 0;
      apart = 0;
      atLeast = 0;
    }
  }

  /** A read ended that had the link for itself and took this long. */
  synchronized void readAlone(long nanos) {
    alone = mean(alone, nanos);
  }

  /**
   * A read ended.
   *
   * @param sinceLast since the read before it ended, or since this one began if that was later
   */
  synchronized void read(long sinceLast) {
    apart = mean(apart, sinceLast);
    atLeast = 0;
    prompts = 0;
  }

  /**
   * A read was overtaken.
   *
   * @param sinceLast for how long no read has ended, at least one being in flight
   */
  synchronized void overtaken(long sinceLast) {
    // How much longer it would have lasted nobody knows: as long again.
    atLeast = Math.max(atLeast, 2.0 * sinceLast);
    prompts = 0;
  }

  /** Empty if nothing was read for some prompts. */
  synchronized Optional<LinkCost> cost() {
    double slowest = Math.max(apart, atLeast);
    return slowest > 0 ? Optional.of(new LinkCost(alone, slowest)) : Optional.empty();
  }

  private static double mean(double old, long nanos) {
    return old == 0 ? Math.max(1, nanos) : (1 - NEW) * old + NEW * nanos;
  }
}

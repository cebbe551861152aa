package org.mixedgpu.backend.emulated;

import org.mixedgpu.base.Check;

/**
 * How much longer an older generation takes for the same op, by kind of op. The generations differ
 * far more in attention than in plain matrix products: that is what makes it worth giving each what
 * it is good at.
 *
 * @param attention factor on the time of attention and its backward pass, 1 or more
 * @param experts factor on the time of matrix products, 1 or more
 * @param other factor on the time of all other ops, 1 or more
 */
public record Slowdown(double attention, double experts, double other) {
  /** Takes no longer. */
  public static final Slowdown NONE = new Slowdown(1, 1, 1);

  /**
   * V100 behind A40. HeterMoE (arXiv 2504.03871), section 1, figure 2: experts reach 80 % of an
   * A40's speed at any length; attention is 3.7 times slower at 64K tokens. The paper gives no
   * number for other ops: they are taken to be as far apart as experts.
   */
  public static final Slowdown V100_BEHIND_A40 = new Slowdown(3.7, 1.25, 1.25);

  /** T4 behind L40S at 4K tokens, from the same figure: experts 7.0, attention 9.9 times slower. */
  public static final Slowdown T4_BEHIND_L40S_4K = new Slowdown(9.9, 7.0, 7.0);

  /** T4 behind L40S at 64K tokens: experts 7.0, attention 13.6 times slower. */
  public static final Slowdown T4_BEHIND_L40S_64K = new Slowdown(13.6, 7.0, 7.0);

  public Slowdown {
    Check.input(
        attention >= 1 && experts >= 1 && other >= 1,
        "An emulated generation takes 1 or more times as long; found attention %s, experts %s,"
            + " other %s",
        attention,
        experts,
        other);
  }
}

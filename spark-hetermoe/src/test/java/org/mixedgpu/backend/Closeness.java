package org.mixedgpu.backend;

import java.util.Locale;

/**
 * When two F32 results of one op agree. A sum of L terms in F32, in any order, has a rounding error
 * of about ε · √L of the size of its terms' sum; where terms cancel, that size is larger than the
 * result, and the root mean square of all results stands for it. So
 *
 * <pre>|got − expected| ≤ 4 · ε · √L · (|expected| + rms(expected))</pre>
 *
 * with ε = 2^-23, one unit in the last place, and 4 for the handful of roundings outside the sum.
 */
public final class Closeness {
  private static final double EPSILON = 0x1p-23;
  private static final double ROUNDINGS = 4;

  private Closeness() {}

  /**
   * Throws an AssertionError that names the worst element unless all agree.
   *
   * @param length L: terms per result; 1 for an element-wise op
   * @param what for the message
   */
  public static void check(float[] got, float[] expected, long length, String what) {
    if (got.length != expected.length) {
      throw new AssertionError(
          what + ": expected " + expected.length + " elements, found " + got.length);
    }
    double rms = rms(expected);
    double relative = ROUNDINGS * EPSILON * Math.sqrt(Math.max(1, length));
    int worst = -1;
    double worstRatio = 1;
    int wrong = 0;
    for (int i = 0; i < got.length; i++) {
      double ratio = ratio(got[i], expected[i], relative * (Math.abs(expected[i]) + rms));
      if (ratio > 1) {
        wrong++;
      }
      if (ratio > worstRatio) {
        worstRatio = ratio;
        worst = i;
      }
    }
    if (worst >= 0) {
      throw new AssertionError(
          String.format(
              Locale.ROOT,
              "%s: %d of %d elements differ; the worst, at %d, is %.9g, expected %.9g, %.3g times"
                  + " the tolerance of %.3g",
              what,
              wrong,
              got.length,
              worst,
              got[worst],
              expected[worst],
              worstRatio,
              relative * (Math.abs(expected[worst]) + rms)));
    }
  }

  /** Difference in units of the tolerance; infinite where only one is NaN or infinite. */
  private static double ratio(float got, float expected, double tolerance) {
    if (Float.compare(got, expected) == 0 || got == expected) {
      return 0;
    }
    if (!Float.isFinite(got) || !Float.isFinite(expected)) {
      return Double.POSITIVE_INFINITY;
    }
    // The smallest normal number keeps results that are all zero or subnormal comparable.
    return Math.abs((double) got - expected) / (tolerance + Float.MIN_NORMAL);
  }

  private static double rms(float[] x) {
    double sum = 0;
    for (float value : x) {
      sum += Float.isFinite(value) ? (double) value * value : 0;
    }
    return x.length == 0 ? 0 : Math.sqrt(sum / x.length);
  }
}

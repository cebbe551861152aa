package org.mixedgpu.backend;

import java.util.Locale;

/** When two results of one op agree: element by element within a {@link Tolerance}. */
public final class Closeness {
  private Closeness() {}

  /**
   * Throws an AssertionError that names the worst element unless all agree.
   *
   * @param length L: terms per result; 1 for an element-wise op
   * @param what for the message
   */
  public static void check(float[] got, float[] expected, long length, String what) {
    check(got, expected, Tolerance.ofSum(length), what);
  }

  /** As above, for results that are rounded to 16 bits, or made of such. */
  public static void check(float[] got, float[] expected, Tolerance tolerance, String what) {
    check(got, expected, tolerance, rms(expected), what);
  }

  /**
   * As above, for results too few to tell by themselves how large such results are.
   *
   * @param rms root mean square of results of the same op on other operands like these
   */
  static void check(float[] got, float[] expected, Tolerance tolerance, double rms, String what) {
    if (got.length != expected.length) {
      throw new AssertionError(
          what + ": expected " + expected.length + " elements, found " + got.length);
    }
    double rowRms = 0;
    int worst = -1;
    double worstRatio = 1;
    double worstTolerance = 0;
    int wrong = 0;
    for (int i = 0; i < got.length; i++) {
      if (i % tolerance.width() == 0) {
        rowRms = rms(expected, i, tolerance.width());
      }
      double allowed = tolerance.of(expected[i], rms, rowRms);
      double ratio = ratio(got[i], expected[i], allowed);
      if (ratio > 1) {
        wrong++;
      }
      if (ratio > worstRatio) {
        worstRatio = ratio;
        worstTolerance = allowed;
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
              worstTolerance));
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

  /** Of the finite ones among them. */
  static double rms(float[] x) {
    return rms(x, 0, x.length);
  }

  private static double rms(float[] x, int at, int count) {
    double sum = 0;
    for (int i = at; i < at + count; i++) {
      sum += Float.isFinite(x[i]) ? (double) x[i] * x[i] : 0;
    }
    return count == 0 ? 0 : Math.sqrt(sum / count);
  }
}

package org.mixedgpu.backend;

import org.mixedgpu.tensor.DType;

/**
 * How far a result of one op may be from the reference, which is computed from the same (rounded)
 * operands. Three things make a difference:
 *
 * <ol>
 *   <li>A sum of L terms in F32, in any order, has a rounding error of about ε · √L of the size of
 *       its terms' sum; where terms cancel, that size is larger than the result, and the root mean
 *       square of all results stands for it, or of the results on more draws of the operands where
 *       they are few. With ε = 2^-23, one unit in the last place, and 4 for the handful of
 *       roundings outside the sum: 4 · ε · √L · (|expected| + rms).
 *   <li>A result of 16 bits is rounded once, to nearest: by at most u · |expected|, where u is half
 *       a unit in the last place of 1: 2^-8 in BF16, 2^-11 in F16. One percent more, because what
 *       is rounded is the computed sum; and half of the smallest number, for F16's subnormal ones.
 *   <li>Attention on matrix units rounds its probabilities p to 16 bits before they weigh the
 *       values v. Each term p·v of a result is then off by at most u · |p·v|, independently of the
 *       others, so their sum by about u/2 of the root of Σ(p·v)²: of what the result itself has for
 *       its size, however many terms there are. The largest of thousands of such errors is about
 *       five times their size, so 8 · u · (|expected| + rms), with the same rms. The backward pass
 *       has three such factors: the probabilities, their gradients, and the rounded output that its
 *       row sums are made of. A product that is rounded before it is added to an output is off by u
 *       of its own size, well within one such factor.
 * </ol>
 *
 * @param length L: terms of the longest sum; 1 for an element-wise op
 * @param type of the result
 * @param roundedInside factors that the op rounds to this type inside
 * @param width elements of a row of the result
 */
public record Tolerance(long length, DType type, int roundedInside, int width) {
  private static final double EPSILON = 0x1p-23;
  private static final double ROUNDINGS = 4;
  private static final double ROUNDED_INSIDE = 8;

  /** Of an F32 result. */
  public static Tolerance ofSum(long length) {
    return new Tolerance(length, DType.F32, 0, 1);
  }

  double of(float expected, double rms, double rowRms) {
    double size = Math.abs((double) expected);
    double terms = size + Math.max(rms, rowRms);
    double sum = ROUNDINGS * EPSILON * Math.sqrt(Math.max(1, length)) * terms;
    double rounded = 1.01 * unit(type) * size + smallest(type);
    double inside = ROUNDED_INSIDE * roundedInside * unit(type) * terms;
    return sum + rounded + inside;
  }

  /** Half a unit in the last place of 1; 0 for F32, which the first term is about. */
  private static double unit(DType type) {
    return switch (type) {
      case BF16 -> 0x1p-8;
      case F16 -> 0x1p-11;
      case F32, I32 -> 0;
    };
  }

  private static double smallest(DType type) {
    return type == DType.F16 ? 0x1p-25 : 0;
  }
}

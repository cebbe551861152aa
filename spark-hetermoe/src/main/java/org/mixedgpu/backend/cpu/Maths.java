package org.mixedgpu.backend.cpu;

/**
 * Functions whose bits are the same in the interpreter and in compiled code, on every machine: only
 * exactly rounded operations, in a fixed order.
 */
final class Maths {
  /** Below it e^x is taken as 0, which also keeps subnormal numbers out of the products. */
  static final float EXP_LOWEST = -87f;

  static final float EXP_HIGHEST = 88f;
  static final float LOG2_E = 1.44269504f;

  /** Adding and subtracting 1.5 · 2^23 rounds to an integer, which is then in the low bits. */
  static final float ROUND = 12582912f;

  /** ln 2 in two parts; the first has few bits, so that n · LN2_HIGH is exact. */
  static final float LN2_HIGH = 0.693359375f;

  static final float LN2_LOW = -2.12194440e-4f;

  private Maths() {}

  /**
   * e^x to about one unit in the last place: x = n ln 2 + r, e^r by its Taylor polynomial of degree
   * 7 (remainder below 1e-8 for |r| ≤ ln 2 / 2), times 2^n. 0 below {@link #EXP_LOWEST}; x is cut
   * at {@link #EXP_HIGHEST}; NaN stays NaN.
   */
  static float exp(float x) {
    if (x < EXP_LOWEST) {
      return 0;
    }
    float cut = Math.min(x, EXP_HIGHEST);
    float shifted = Math.fma(cut, LOG2_E, ROUND);
    float n = shifted - ROUND;
    float r = Math.fma(-n, LN2_HIGH, cut);
    r = Math.fma(-n, LN2_LOW, r);
    float p = 1f / 5040;
    p = Math.fma(p, r, 1f / 720);
    p = Math.fma(p, r, 1f / 120);
    p = Math.fma(p, r, 1f / 24);
    p = Math.fma(p, r, 1f / 6);
    p = Math.fma(p, r, 0.5f);
    p = Math.fma(p, r, 1f);
    p = Math.fma(p, r, 1f);
    float scale = Float.intBitsToFloat((Float.floatToRawIntBits(shifted) << 23) + 0x3F800000);
    return p * scale;
  }

  static float sigmoid(float x) {
    return 1f / (1f + exp(-x));
  }
}

package org.mixedgpu.backend.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * Functions whose bits are the same in the interpreter and in compiled code, element by element and
 * in vectors, on every machine: only exactly rounded operations, in a fixed order. (The vector
 * library's own exponential is another one in compiled code than in the interpreter.)
 */
final class Maths {
  static final VectorSpecies<Float> FLOATS = FloatVector.SPECIES_PREFERRED;
  static final int LANES = FLOATS.length();

  /** Below it e^x is taken as 0, which also keeps subnormal numbers out of the products. */
  private static final float LOWEST = -87f;

  private static final float LOG2_E = 1.44269504f;

  /** Adding and subtracting 1.5 · 2^23 rounds to an integer, which is then in the low bits. */
  private static final float ROUND = 12582912f;

  /** ln 2 in two parts; the first has few bits, so that n · LN2_HIGH is exact. */
  private static final float LN2_HIGH = 0.693359375f;

  private static final float LN2_LOW = -2.12194440e-4f;
  private static final int ONE = 0x3F800000;

  private Maths() {}

  /**
   * e^x for x up to 88, to about one unit in the last place: x = n ln 2 + r, e^r by its Taylor
   * polynomial of degree 7 (remainder below 1e-8 for |r| ≤ ln 2 / 2), times 2^n. 0 below -87; NaN
   * stays NaN.
   */
  static float exp(float x) {
    if (x < LOWEST) {
      return 0;
    }
    float shifted = Math.fma(x, LOG2_E, ROUND);
    float n = shifted - ROUND;
    float r = Math.fma(n, -LN2_HIGH, x);
    r = Math.fma(n, -LN2_LOW, r);
    float p = 1f / 5040;
    p = Math.fma(p, r, 1f / 720);
    p = Math.fma(p, r, 1f / 120);
    p = Math.fma(p, r, 1f / 24);
    p = Math.fma(p, r, 1f / 6);
    p = Math.fma(p, r, 0.5f);
    p = Math.fma(p, r, 1f);
    p = Math.fma(p, r, 1f);
    return p * Float.intBitsToFloat((Float.floatToRawIntBits(shifted) << 23) + ONE);
  }

  /** {@link #exp(float)} in every lane, bit for bit. */
  static FloatVector exp(FloatVector x) {
    FloatVector shifted = x.fma(vector(LOG2_E), vector(ROUND));
    FloatVector n = shifted.sub(ROUND);
    FloatVector r = n.fma(vector(-LN2_HIGH), x);
    r = n.fma(vector(-LN2_LOW), r);
    FloatVector p = vector(1f / 5040).fma(r, vector(1f / 720));
    p = p.fma(r, vector(1f / 120));
    p = p.fma(r, vector(1f / 24));
    p = p.fma(r, vector(1f / 6));
    p = p.fma(r, vector(0.5f));
    p = p.fma(r, vector(1f));
    p = p.fma(r, vector(1f));
    IntVector exponent = shifted.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
    FloatVector power = exponent.add(ONE).reinterpretAsFloats();
    return p.mul(power).blend(0f, x.lt(LOWEST));
  }

  /** 1 / (1 + e^-x), by the exponential of -|x|, which cannot overflow. */
  static float sigmoid(float x) {
    float e = exp(-Math.abs(x));
    return (x < 0 ? e : 1f) / (1f + e);
  }

  /** {@link #sigmoid(float)} in every lane, bit for bit. */
  static FloatVector sigmoid(FloatVector x) {
    FloatVector e = exp(x.abs().neg());
    return vector(1f).blend(e, x.lt(0f)).div(e.add(1f));
  }

  static FloatVector vector(float value) {
    return FloatVector.broadcast(FLOATS, value);
  }
}

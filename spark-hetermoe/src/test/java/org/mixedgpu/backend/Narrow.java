package org.mixedgpu.backend;

import org.mixedgpu.tensor.DType;

/** A 16-bit floating-point format by its definition: sign, exponent, fraction. */
record Narrow(int exponentBits, int fractionBits) {
  static final Narrow F16 = new Narrow(5, 10);
  static final Narrow BF16 = new Narrow(8, 7);

  static Narrow of(DType type) {
    return type == DType.F16 ? F16 : BF16;
  }

  /** The nearest value of a type, ties to even: {@link #nearest} without its search. */
  static float round(DType type, float value) {
    if (type == DType.F32 || !Float.isFinite(value)) {
      return value;
    }
    Narrow format = of(type);
    int bias = (1 << (format.exponentBits - 1)) - 1;
    int exponent = Math.max(Math.getExponent(value), 1 - bias);
    if (exponent > bias) {
      return Math.copySign(Float.POSITIVE_INFINITY, value);
    }
    double unit = Math.scalb(1.0, exponent - format.fractionBits);
    double rounded = Math.rint(value / unit) * unit;
    double largest = Math.scalb(2 - Math.scalb(1.0, -format.fractionBits), bias);
    return (float) (Math.abs(rounded) > largest ? rounded * Double.POSITIVE_INFINITY : rounded);
  }

  /** The bits of a value that {@link #round} has left as it was. */
  short bits(float value) {
    int sign = Float.floatToRawIntBits(value) < 0 ? 0x8000 : 0;
    int bias = (1 << (exponentBits - 1)) - 1;
    if (!Float.isFinite(value)) {
      int quiet = Float.isNaN(value) ? 1 << (fractionBits - 1) : 0;
      return (short) (sign | (((1 << exponentBits) - 1) << fractionBits) | quiet);
    }
    int exponent = Math.max(Math.getExponent(value), 1 - bias);
    // In units in the last place; the leading 1 of normal numbers adds 1 to the exponent field.
    int units = (int) Math.scalb(Math.abs((double) value), fractionBits - exponent);
    return (short) (sign | ((exponent - 1 + bias) * (1 << fractionBits) + units));
  }

  /** The value that the bits stand for. */
  float widen(short bits) {
    int bias = (1 << (exponentBits - 1)) - 1;
    int exponent = (bits >> fractionBits) & ((1 << exponentBits) - 1);
    int fraction = bits & ((1 << fractionBits) - 1);
    double sign = bits < 0 ? -1 : 1;
    if (exponent == (1 << exponentBits) - 1) {
      return fraction == 0 ? (float) (sign * Double.POSITIVE_INFINITY) : Float.NaN;
    }
    double unit = Math.scalb(1.0, -fractionBits);
    double value =
        exponent == 0
            ? fraction * unit * Math.scalb(1.0, 1 - bias)
            : (1 + fraction * unit) * Math.scalb(1.0, exponent - bias);
    return (float) (sign * value);
  }

  /** The bits whose value is nearest, ties to the even fraction: by bisection over all bits. */
  short nearest(float value) {
    int infinity = ((1 << exponentBits) - 1) << fractionBits;
    int sign = Float.floatToRawIntBits(value) < 0 ? 0x8000 : 0;
    if (Float.isNaN(value)) {
      return (short) (sign | infinity | 1 << (fractionBits - 1));
    }
    double magnitude = Math.abs((double) value);
    int low = 0;
    int high = infinity;
    while (high - low > 1) {
      int middle = (low + high) / 2;
      if (widen((short) middle) <= magnitude) {
        low = middle;
      } else {
        high = middle;
      }
    }
    if (magnitude == Double.POSITIVE_INFINITY) {
      return (short) (sign | infinity);
    }
    // For rounding, infinity stands where the next number would be.
    double below = widen((short) low);
    double above = high == infinity ? 2 * below - widen((short) (low - 1)) : widen((short) high);
    double toLow = magnitude - below;
    double toHigh = above - magnitude;
    boolean down = toLow < toHigh || (toLow == toHigh && (low & 1) == 0);
    return (short) (sign | (down ? low : high));
  }
}

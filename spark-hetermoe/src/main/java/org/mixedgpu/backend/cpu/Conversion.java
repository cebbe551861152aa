package org.mixedgpu.backend.cpu;

import org.mixedgpu.tensor.DType;

/** Between F32 and the 16-bit formats, rounding to nearest, ties to even. */
final class Conversion {
  private Conversion() {}

  static float toFloat(DType type, short bits) {
    return type == DType.BF16 ? Float.intBitsToFloat(bits << 16) : halfToFloat(bits);
  }

  static short fromFloat(DType type, float value) {
    return type == DType.BF16 ? toBfloat(value) : toHalf(value);
  }

  static short toBfloat(float value) {
    int bits = Float.floatToRawIntBits(value);
    if (Float.isNaN(value)) {
      // Rounding could carry a NaN's payload into infinity; the top bit marks it quiet.
      return (short) ((bits >>> 16) | 0x40);
    }
    return (short) ((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16);
  }

  static float halfToFloat(short half) {
    int sign = (half & 0x8000) << 16;
    int exponent = (half >>> 10) & 0x1F;
    int fraction = half & 0x3FF;
    if (exponent == 0) {
      // Subnormal: fraction · 2^-24, exact in F32.
      return Float.intBitsToFloat(Float.floatToRawIntBits(fraction * 0x1p-24f) | sign);
    }
    int wide = exponent == 0x1F ? 0xFF : exponent + 112;
    return Float.intBitsToFloat(sign | wide << 23 | fraction << 13);
  }

  static short toHalf(float value) {
    int bits = Float.floatToRawIntBits(value);
    int sign = (bits >>> 16) & 0x8000;
    int magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) {
      return (short) (sign | 0x7E00 | (magnitude >>> 13 & 0x3FF));
    }
    if (magnitude >= 0x477FF000) {
      // 65520 and more round to infinity.
      return (short) (sign | 0x7C00);
    }
    if (magnitude < 0x38800000) {
      // Below 2^-14: adding 0.5 leaves the value in units of 2^-24 in the low bits, rounded by the
      // adder itself.
      float shifted = Float.intBitsToFloat(magnitude) + 0.5f;
      return (short) (sign | (Float.floatToRawIntBits(shifted) - 0x3F000000));
    }
    int rounded = magnitude + 0xFFF + ((magnitude >>> 13) & 1);
    return (short) (sign | ((rounded - 0x38000000) >>> 13));
  }
}

package org.mixedgpu.nn;

/** Inverse frequencies of the rotary position embedding, in F32 as Hugging Face computes them. */
final class RopeFrequencies {
  private RopeFrequencies() {}

  /** One frequency for each pair of dimensions of a head, in radians per position. */
  static float[] of(ModelConfig config) {
    RopeConfig rope = config.rope();
    int dim = config.headDim();
    float[] frequencies = new float[dim / 2];
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] = 1f / wavelengthFactor(rope, i, dim);
    }
    switch (rope.type()) {
      case DEFAULT -> {}
      case LINEAR -> {
        for (int i = 0; i < frequencies.length; i++) {
          frequencies[i] = frequencies[i] / (float) rope.factor();
        }
      }
      case LLAMA3 -> llama3(frequencies, rope);
      case YARN -> yarn(frequencies, rope, dim);
    }
    return frequencies;
  }

  private static float wavelengthFactor(RopeConfig rope, int pair, int dim) {
    return (float) StrictMath.pow(rope.theta(), (2 * pair) / (float) dim);
  }

  /** Llama 3.1: long wavelengths are stretched, short ones kept, those between are mixed. */
  private static void llama3(float[] frequencies, RopeConfig rope) {
    double length = rope.originalMaxPositions();
    double low = rope.lowFreqFactor();
    double high = rope.highFreqFactor();
    for (int i = 0; i < frequencies.length; i++) {
      float frequency = frequencies[i];
      double wavelength = 2 * Math.PI / frequency;
      if (wavelength > length / low) {
        frequencies[i] = frequency / (float) rope.factor();
      } else if (wavelength >= length / high) {
        double smooth = (length / wavelength - low) / (high - low);
        frequencies[i] = (float) ((1 - smooth) * (frequency / rope.factor()) + smooth * frequency);
      }
    }
  }

  /** YaRN (Peng et al.): dimensions that rotate rarely are stretched, by a linear ramp between. */
  private static void yarn(float[] frequencies, RopeConfig rope, int dim) {
    double low = yarnDimension(orElse(rope.betaFast(), 32), rope, dim);
    double high = yarnDimension(orElse(rope.betaSlow(), 1), rope, dim);
    if (rope.truncate()) {
      low = Math.floor(low);
      high = Math.ceil(high);
    }
    low = Math.max(low, 0);
    high = Math.min(high, dim - 1);
    if (low == high) {
      high += 0.001;
    }
    for (int i = 0; i < frequencies.length; i++) {
      double ramp = Math.min(Math.max((i - low) / (high - low), 0), 1);
      double kept = 1 - ramp;
      double stretched = 1.0 / (rope.factor() * wavelengthFactor(rope, i, dim));
      frequencies[i] = (float) (stretched * (1 - kept) + frequencies[i] * kept);
    }
  }

  /** The dimension that rotates this often over the original context. */
  private static double yarnDimension(double rotations, RopeConfig rope, int dim) {
    return dim
        * StrictMath.log(rope.originalMaxPositions() / (rotations * 2 * Math.PI))
        / (2 * StrictMath.log(rope.theta()));
  }

  /** Factor on cosines and sines; 1 but for YaRN. */
  static float attentionFactor(RopeConfig rope) {
    if (rope.type() != RopeConfig.Type.YARN) {
      return 1f;
    }
    if (rope.attentionFactor() != 0) {
      return (float) rope.attentionFactor();
    }
    if (rope.mscale() != 0 && rope.mscaleAllDim() != 0) {
      return (float)
          (yarnScale(rope.factor(), rope.mscale()) / yarnScale(rope.factor(), rope.mscaleAllDim()));
    }
    return (float) yarnScale(rope.factor(), 1);
  }

  private static double yarnScale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * StrictMath.log(factor) + 1;
  }

  private static double orElse(double value, double otherwise) {
    return value != 0 ? value : otherwise;
  }
}

package org.mixedgpu.nn;

import org.mixedgpu.base.Check;

/**
 * Parameters of the rotary position embedding. Fields that the type does not use are 0; {@code
 * attentionFactor}, {@code mscale} and {@code mscaleAllDim} are 0 where the config does not give
 * them.
 *
 * @param theta base of the wavelengths
 * @param factor stretch of the context (LINEAR, LLAMA3, YARN)
 * @param lowFreqFactor LLAMA3: wavelengths above originalMaxPositions / this are stretched
 * @param highFreqFactor LLAMA3: wavelengths below originalMaxPositions / this are kept
 * @param originalMaxPositions context length before stretching (LLAMA3, YARN)
 * @param betaFast YARN: dimensions that rotate more often than this are kept
 * @param betaSlow YARN: dimensions that rotate less often than this are stretched
 * @param attentionFactor YARN: factor on cos and sin; 0 derives it from factor and mscale
 * @param mscale YARN
 * @param mscaleAllDim YARN
 * @param truncate YARN: whether the range of mixed dimensions is rounded to integers
 */
public record RopeConfig(
    Type type,
    double theta,
    double factor,
    double lowFreqFactor,
    double highFreqFactor,
    int originalMaxPositions,
    double betaFast,
    double betaSlow,
    double attentionFactor,
    double mscale,
    double mscaleAllDim,
    boolean truncate) {

  /** How the wavelengths are stretched to longer contexts. */
  public enum Type {
    DEFAULT,
    LINEAR,
    LLAMA3,
    YARN
  }

  public RopeConfig {
    Check.input(theta > 0, "RoPE theta must be positive; found %s", theta);
    Check.input(
        type == Type.DEFAULT || factor > 0,
        "RoPE of type %s needs a positive factor; found %s",
        type,
        factor);
    Check.input(
        (type != Type.LLAMA3 && type != Type.YARN) || originalMaxPositions > 0,
        "RoPE of type %s needs original_max_position_embeddings; found %d",
        type,
        originalMaxPositions);
    Check.input(
        type != Type.LLAMA3 || (lowFreqFactor > 0 && highFreqFactor > lowFreqFactor),
        "RoPE of type LLAMA3 needs 0 < low_freq_factor < high_freq_factor; found %s and %s",
        lowFreqFactor,
        highFreqFactor);
  }

  public static RopeConfig unscaled(double theta) {
    return new RopeConfig(Type.DEFAULT, theta, 0, 0, 0, 0, 0, 0, 0, 0, 0, true);
  }

  public static RopeConfig linear(double theta, double factor) {
    return new RopeConfig(Type.LINEAR, theta, factor, 0, 0, 0, 0, 0, 0, 0, 0, true);
  }

  public static RopeConfig llama3(
      double theta, double factor, double low, double high, int originalMaxPositions) {
    return new RopeConfig(
        Type.LLAMA3, theta, factor, low, high, originalMaxPositions, 0, 0, 0, 0, 0, true);
  }
}

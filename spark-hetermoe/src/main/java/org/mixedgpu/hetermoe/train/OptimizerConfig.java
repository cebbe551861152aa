package org.mixedgpu.hetermoe.train;

import java.io.Serializable;
import org.mixedgpu.base.Check;

/**
 * Settings of AdamW and what is done to the gradients before it.
 *
 * @param weightDecay on every parameter, norms and biases included, as OLMoE does
 * @param clipNorm largest global L2 norm of the gradients; larger ones are scaled down; 0 for none
 */
public record OptimizerConfig(
    LearningRate learningRate,
    float beta1,
    float beta2,
    float epsilon,
    float weightDecay,
    double clipNorm)
    implements Serializable {
  public OptimizerConfig {
    Check.input(
        beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1,
        "AdamW's betas must be in [0, 1); found %s and %s",
        beta1,
        beta2);
    Check.input(
        epsilon > 0 && weightDecay >= 0 && clipNorm >= 0,
        "AdamW needs a positive epsilon, and decay and clipping norm not negative; found %s, %s, %s",
        epsilon,
        weightDecay,
        clipNorm);
  }

  /** Betas 0.9 and 0.95, epsilon 1e-8, decay 0.1, clipping at 1. */
  public static OptimizerConfig standard(LearningRate learningRate) {
    return new OptimizerConfig(learningRate, 0.9f, 0.95f, 1e-8f, 0.1f, 1);
  }

  /**
   * Factor that brings the gradients to the clipping norm; 1 where they are below. As PyTorch's
   * clip_grad_norm_, which adds 1e-6 to the norm.
   */
  public float clipFactor(double norm) {
    return clipNorm == 0 ? 1 : (float) Math.min(1, clipNorm / (norm + 1e-6));
  }
}

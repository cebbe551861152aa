package org.mixedgpu.backend;

import org.mixedgpu.base.Check;

/**
 * Hyper-parameters of one AdamW step (Loshchilov and Hutter: decoupled weight decay), as PyTorch
 * defines it: epsilon is added outside the square root, after bias correction.
 *
 * @param step counted from 1
 * @param gradScale factor on every gradient first: the clipping factor
 */
public record AdamWStep(
    float learningRate,
    float beta1,
    float beta2,
    float epsilon,
    float weightDecay,
    long step,
    float gradScale) {
  public AdamWStep {
    Check.input(step >= 1, "AdamW steps are counted from 1; found %d", step);
  }
}

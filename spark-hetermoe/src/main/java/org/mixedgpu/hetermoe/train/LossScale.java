package org.mixedgpu.hetermoe.train;

import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/**
 * The factor on the loss that keeps gradients by activations within the range of F16, whose
 * smallest number is 2^-24: as large as can be without gradients becoming infinite. They are
 * divided by it before anything looks at them. It starts at 2^16, is halved by a step whose
 * gradients are not finite, which then changes no weight, and doubled, up to 2^24, after 2000 steps
 * in a row that were. Where nobody computes in F16 it is 1 and stays 1, and gradients that are not
 * finite end the training, before they have changed any weight.
 *
 * <p>A pure function of the norms it was shown: members that see the same norms have the same
 * factor. Not thread-safe.
 */
final class LossScale {
  static final float FIRST = 0x1p16f;
  static final float MOST = 0x1p24f;
  static final int GOOD_STEPS = 2000;

  private final boolean dynamic;
  private float factor;
  private int good;

  private LossScale(boolean dynamic) {
    this.dynamic = dynamic;
    this.factor = dynamic ? FIRST : 1;
  }

  /** For a run in which some gradients have this type. */
  static LossScale of(DType computeType) {
    return new LossScale(computeType == DType.F16);
  }

  /** A power of two, so that it changes no bit of what stays in range. */
  float factor() {
    return factor;
  }

  /**
   * Whether a step may use its gradients; makes the factor of the next step.
   *
   * @param norm of all gradients, after division by the factor
   */
  boolean accept(double norm) {
    if (Double.isFinite(norm)) {
      good++;
      if (dynamic && good == GOOD_STEPS) {
        good = 0;
        factor = Math.min(MOST, 2 * factor);
      }
      return true;
    }
    if (factor <= 1) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          "Gradients have the norm "
              + norm
              + (dynamic
                  ? " although the loss is no longer scaled: training has diverged, or activations"
                      + " are beyond 65504, the largest number of F16; lower the learning rate, or"
                      + " compute in BF16 or F32"
                  : ": training has diverged; lower the learning rate, raise warmupSteps, or clip"
                      + " gradients to a lower norm (clipNorm)"));
    }
    good = 0;
    factor /= 2;
    return false;
  }
}

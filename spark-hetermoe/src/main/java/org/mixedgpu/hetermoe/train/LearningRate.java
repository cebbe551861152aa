package org.mixedgpu.hetermoe.train;

import java.io.Serializable;
import org.mixedgpu.base.Check;

/**
 * Linear warm-up, then a half cosine down to a floor, or constant.
 *
 * @param peak learning rate after the warm-up
 * @param warmupSteps step s of these has peak · s / warmupSteps; 0 for none
 * @param totalSteps step at which the floor is reached; 0 for a constant rate after the warm-up
 * @param floorRatio the floor as a part of the peak
 */
public record LearningRate(double peak, long warmupSteps, long totalSteps, double floorRatio)
    implements Serializable {
  public LearningRate {
    Check.input(peak > 0, "The learning rate must be positive; found %s", peak);
    Check.input(
        warmupSteps >= 0 && (totalSteps == 0 || totalSteps > warmupSteps),
        "The warm-up must be shorter than the schedule; found %d of %d steps",
        warmupSteps,
        totalSteps);
    Check.input(
        floorRatio >= 0 && floorRatio <= 1,
        "The floor must be a part of the peak, in [0, 1]; found %s",
        floorRatio);
  }

  public static LearningRate constant(double rate) {
    return new LearningRate(rate, 0, 0, 1);
  }

  public static LearningRate cosine(
      double peak, long warmupSteps, long totalSteps, double floorRatio) {
    Check.input(totalSteps > 0, "A cosine schedule needs its steps; found %d", totalSteps);
    return new LearningRate(peak, warmupSteps, totalSteps, floorRatio);
  }

  /** The rate of a step, counted from 1. */
  public double at(long step) {
    Check.input(step >= 1, "Steps are counted from 1; found %d", step);
    if (step <= warmupSteps) {
      return peak * step / warmupSteps;
    }
    if (totalSteps == 0) {
      return peak;
    }
    double progress = Math.min(1, (double) (step - warmupSteps) / (totalSteps - warmupSteps));
    // StrictMath: every member must get the same bits.
    double cosine = 0.5 * (1 + StrictMath.cos(Math.PI * progress));
    return peak * (floorRatio + (1 - floorRatio) * cosine);
  }
}

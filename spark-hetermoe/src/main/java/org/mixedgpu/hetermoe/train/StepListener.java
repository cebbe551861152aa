package org.mixedgpu.hetermoe.train;

/** Is told of each step when it is done, on the training thread; should not take long. */
@FunctionalInterface
public interface StepListener {
  void onStep(StepReport report);
}

package org.mixedgpu.hetermoe.train;

import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/** A device on which one gradient of some losses is too large for its type. */
final class OverflowingBackend extends RoundingBackend {
  private final AtomicInteger losses = new AtomicInteger();
  private final int[] bad;

  /**
   * @param bad which losses, from 1
   */
  OverflowingBackend(DType type, int... bad) {
    super(type);
    this.bad = bad;
  }

  @Override
  public void crossEntropy(
      Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets, float gradScale) {
    super.crossEntropy(rowLoss, dLogits, logits, targets, gradScale);
    int number = losses.incrementAndGet();
    if (Arrays.stream(bad).anyMatch(b -> b == number)) {
      super.fill(dLogits.rows(0, 1), Float.POSITIVE_INFINITY);
    }
  }
}

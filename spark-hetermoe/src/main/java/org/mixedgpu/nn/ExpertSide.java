package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/**
 * The experts of one layer that the parameters include: e(x) = down(silu(gate x) · up x), rows
 * grouped by expert. Not thread-safe: all layers that share a {@link Workspace} run in one lane.
 */
public final class ExpertSide {

  public ExpertSide(
      TrainingBackend backend,
      ModelConfig config,
      int layer,
      Parameters parameters,
      Workspace workspace) {
    throw new UnsupportedOperationException();
  }

  /** Experts that live here. */
  public int experts() {
    throw new UnsupportedOperationException();
  }

  /** Activations of one micro-batch of at most so many rows, to be used again in every step. */
  public Saved allocate(int maxRows) {
    throw new UnsupportedOperationException();
  }

  /**
   * @param outSlots [S,H]; rows outside all groups keep their contents
   * @param inSlots [S,H], S at most maxRows; must keep its contents until {@link #backward}
   * @param offsets I32 [local experts + 1]: expert e has rows [offsets[e], offsets[e+1])
   */
  public void forward(Tensor outSlots, Saved s, Tensor inSlots, Tensor offsets) {
    throw new UnsupportedOperationException();
  }

  /**
   * @param dInSlots [S,H]; may be dOutSlots
   * @param dOutSlots [S,H]
   * @param offsets the same as in the forward pass
   * @param grads gradients are added here
   */
  public void backward(
      Tensor dInSlots, Saved s, Tensor dOutSlots, Tensor offsets, Parameters grads) {
    throw new UnsupportedOperationException();
  }

  /** Activations of one micro-batch. Owns its tensors. */
  public static final class Saved implements AutoCloseable {
    @Override
    public void close() {
      throw new UnsupportedOperationException();
    }
  }
}

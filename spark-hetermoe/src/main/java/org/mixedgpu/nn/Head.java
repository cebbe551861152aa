package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/**
 * Final norm, LM head (the embedding where tied) and cross entropy, in chunks of rows, so that the
 * logits of a whole batch never exist at once.
 */
public final class Head {

  public Head(
      TrainingBackend backend, ModelConfig config, Parameters parameters, Workspace workspace) {
    throw new UnsupportedOperationException();
  }

  /**
   * The loss of each row and the gradients of gradScale · Σ rowLoss.
   *
   * @param rowLoss [R]; 0 where the target is negative
   * @param dX [R,H] gradient by x; may be x
   * @param x [R,H] output of the last layer, before the final norm
   * @param targets I32 [R] the next token of each row; negative rows are ignored
   * @param gradScale usually 1 / the valid targets of the global batch
   * @param grads gradients are added here
   */
  public void forwardBackward(
      Tensor rowLoss, Tensor dX, Tensor x, Tensor targets, float gradScale, Parameters grads) {
    throw new UnsupportedOperationException();
  }

  /** The loss of each row: evaluation. */
  public void loss(Tensor rowLoss, Tensor x, Tensor targets) {
    throw new UnsupportedOperationException();
  }
}

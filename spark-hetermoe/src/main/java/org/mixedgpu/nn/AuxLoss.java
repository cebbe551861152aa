package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/**
 * The router's balancing loss and z-loss of one micro-batch. The order of use is: {@link #collect}
 * for each MoE layer once its routing is known, {@link #finish} before the micro-batch's backward
 * pass starts (the Hugging Face kind needs the counts of all layers), then {@link
 * AttentionSide#backward} reads the derivatives. One object per micro-batch in flight; after its
 * backward pass it can be used for the next.
 *
 * <p>With f the choices of an expert per row and P its mean probability, both over the rows of a
 * layer (PER_LAYER) or of all MoE layers (HUGGING_FACE):
 *
 * <ul>
 *   <li>HUGGING_FACE: coefficient · E · Σ f·P, pooled over layers, k at perfect balance; z-loss:
 *       the mean of logsumexp² over rows and layers;
 *   <li>PER_LAYER (Megatron): Σ over layers of coefficient · E · Σ (f/k)·P, 1 per layer at perfect
 *       balance; z-loss: the mean of logsumexp² over rows, summed over layers.
 * </ul>
 */
public final class AuxLoss implements AutoCloseable {
  /** Which definition; see the class. */
  public enum Kind {
    HUGGING_FACE,
    PER_LAYER
  }

  /**
   * @param share factor on value and derivatives: 1 / the micro-batches of the global batch
   */
  public AuxLoss(TrainingBackend backend, ModelConfig config, Kind kind, float share) {
    throw new UnsupportedOperationException();
  }

  /** Takes the counts and probabilities of a layer; queues work only. */
  public void collect(int layer, Routing routing) {
    throw new UnsupportedOperationException();
  }

  /** The loss, coefficients and share included; makes the derivatives. Waits for the device. */
  public double finish() {
    throw new UnsupportedOperationException();
  }

  /** Derivative by the router's probabilities, [E], equal for all rows; null where it is zero. */
  Tensor byExpert(int layer) {
    throw new UnsupportedOperationException();
  }

  /** Factor on logsumexp · probability in the derivative by the logits. */
  float zScale() {
    throw new UnsupportedOperationException();
  }

  @Override
  public void close() {
    throw new UnsupportedOperationException();
  }
}

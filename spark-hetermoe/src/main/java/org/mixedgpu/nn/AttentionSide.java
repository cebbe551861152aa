package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/**
 * Everything of one decoder layer that is not a routed expert; of a dense layer, everything. The
 * forward and backward passes are explicit pairs, cut where tokens leave for the experts and come
 * back. With R rows (batch · sequence), width H, k experts per row, a MoE layer runs
 *
 * <pre>
 *   forward(s, x)              x[R,H] → s.residual(), s.ffnInput(), s.routing()
 *   dispatch(inSlots, s)       rows of ffnInput in the order of experts, [R·k,H]
 *   ... ExpertSide.forward: inSlots → slots ...
 *   combine(xNext, s, slots)
 *
 *   combineBackward(dSlots, s, dXNext)
 *   ... ExpertSide.backward: dSlots → dInSlots ...
 *   backward(dX, s, dXNext, dInSlots, grads, aux)
 * </pre>
 *
 * and a dense layer forward, combine(xNext, s, null) and backward(dX, s, dXNext, null, grads,
 * null). Not thread-safe: all layers that share a {@link Workspace} run in one lane.
 */
public final class AttentionSide {

  public AttentionSide(
      TrainingBackend backend,
      ModelConfig config,
      int layer,
      Parameters parameters,
      RopeTables rope,
      Workspace workspace) {
    throw new UnsupportedOperationException();
  }

  /** Activations of one micro-batch in this layer, to be used again in every step. */
  public Saved allocate(int batch, int sequence) {
    throw new UnsupportedOperationException();
  }

  /**
   * Attention, the second norm and the router.
   *
   * @param x [R,H] input of the layer; must keep its contents until {@link #backward}
   */
  public void forward(Saved s, Tensor x) {
    throw new UnsupportedOperationException();
  }

  /** inSlots [R·k,H] = the rows of the FFN input that each expert gets, expert by expert. */
  public void dispatch(Tensor inSlots, Saved s) {
    throw new UnsupportedOperationException();
  }

  /**
   * xNext [R,H] = residual + Σ weight · slot (+ the shared expert).
   *
   * @param slots [R·k,H] outputs of the experts, in the order of {@link #dispatch}; must keep its
   *     contents until {@link #combineBackward}; null for a dense layer
   */
  public void combine(Tensor xNext, Saved s, Tensor slots) {
    throw new UnsupportedOperationException();
  }

  /**
   * dSlots [R·k,H] from dXNext [R,H]; keeps the gradient of the routing weights in s. Only for MoE
   * layers.
   *
   * @param dSlots may be the slots that {@link #combine} got
   */
  public void combineBackward(Tensor dSlots, Saved s, Tensor dXNext) {
    throw new UnsupportedOperationException();
  }

  /**
   * dX [R,H] from dXNext [R,H] and, in a MoE layer, what came back from the experts: the branches
   * through the residual, the experts, the gate and the shared expert, then attention.
   *
   * @param dX may be dXNext
   * @param dInSlots [R·k,H] gradient by the dispatched rows; null for a dense layer
   * @param grads gradients are added here
   * @param aux of this micro-batch, finished; null for none
   */
  public void backward(
      Tensor dX, Saved s, Tensor dXNext, Tensor dInSlots, Parameters grads, AuxLoss aux) {
    throw new UnsupportedOperationException();
  }

  /** Activations of one micro-batch in one layer. Owns its tensors. */
  public static final class Saved implements AutoCloseable {
    /** [R,H] = x + attention. */
    public Tensor residual() {
      throw new UnsupportedOperationException();
    }

    /** [R,H] = normed residual: input of the experts, or of the dense feed-forward network. */
    public Tensor ffnInput() {
      throw new UnsupportedOperationException();
    }

    /** Null in a dense layer. */
    public Routing routing() {
      throw new UnsupportedOperationException();
    }

    @Override
    public void close() {
      throw new UnsupportedOperationException();
    }
  }
}

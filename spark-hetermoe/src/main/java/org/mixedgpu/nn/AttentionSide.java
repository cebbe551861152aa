package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
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
  private final TrainingBackend backend;
  private final ModelConfig config;
  private final int layer;
  private final Workspace workspace;
  private final SelfAttention attention;
  private final Norm norm;

  /** Null in a MoE layer. */
  private final FeedForward dense;

  /** Null in a dense layer. */
  private final Router router;

  /** Null where the model has none. */
  private final SharedExpert shared;

  public AttentionSide(
      TrainingBackend backend,
      ModelConfig config,
      int layer,
      Parameters parameters,
      RopeTables rope,
      Workspace workspace) {
    this.backend = backend;
    this.config = config;
    this.layer = layer;
    this.workspace = workspace;
    this.attention = new SelfAttention(config, layer, parameters, rope);
    this.norm =
        new Norm(
            parameters,
            ParameterNames.layer(layer, "post_attention_layernorm.weight"),
            config.rmsEps());
    boolean moe = config.isMoe(layer);
    this.dense =
        moe
            ? null
            : new FeedForward(
                parameters, ParameterNames.layer(layer, "mlp"), config.intermediate());
    this.router = moe ? new Router(config, layer, parameters) : null;
    this.shared =
        moe && config.requireMoe().sharedIntermediate() > 0
            ? new SharedExpert(config, layer, parameters)
            : null;
  }

  /** Activations of one micro-batch in this layer, to be used again in every step. */
  public Saved allocate(int batch, int sequence) {
    return Allocation.of(backend, memory -> new Saved(memory, this, batch, sequence));
  }

  /**
   * Attention, the second norm and the router.
   *
   * @param x [R,H] input of the layer; must keep its contents until {@link #backward}
   */
  public void forward(Saved s, Tensor x) {
    s.x = x;
    attention.forward(backend, s.residual, s.attention, x);
    norm.forward(backend, s.ffnInput, s.inverseRms, s.residual);
    if (router != null) {
      router.forward(backend, s.routing, s.ffnInput);
    }
  }

  /** inSlots [R·k,H] = the rows of the FFN input that each expert gets, expert by expert. */
  public void dispatch(Tensor inSlots, Saved s) {
    backend.gatherRows(inSlots, s.ffnInput, s.routing.rowOf());
  }

  /**
   * xNext [R,H] = residual + Σ weight · slot (+ the shared expert).
   *
   * @param slots [R·k,H] outputs of the experts, in the order of {@link #dispatch}; must keep its
   *     contents until {@link #combineBackward}; null for a dense layer
   */
  public void combine(Tensor xNext, Saved s, Tensor slots) {
    backend.copy(xNext, s.residual);
    if (dense != null) {
      dense.forward(backend, workspace, xNext, s.network, s.ffnInput, 1);
      return;
    }
    if (slots == null) {
      throw Check.bug("MoE layer %d needs the outputs of its experts", layer);
    }
    s.slots = slots;
    backend.combineRows(xNext, slots, s.routing.slotOf(), s.routing.weights(), true);
    if (shared != null) {
      shared.forward(backend, workspace, xNext, s.shared, s.ffnInput);
    }
  }

  /**
   * dSlots [R·k,H] from dXNext [R,H]; keeps the gradient of the routing weights in s. Only for MoE
   * layers.
   *
   * @param dSlots may be the slots that {@link #combine} got
   */
  public void combineBackward(Tensor dSlots, Saved s, Tensor dXNext) {
    backend.combineRowsBackward(
        dSlots, s.dWeights, dXNext, s.slots, s.routing.slotOf(), s.routing.weights());
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
      Tensor dX, Saved s, Tensor dXNext, Tensor dInSlots, Gradients grads, AuxLoss aux) {
    Tensor dFfn = workspace.reals("dFfnInput", s.x.shape().rows(), config.hidden());
    if (dense != null) {
      dense.backward(backend, workspace, dFfn, s.network, s.ffnInput, dXNext, 0, grads);
    } else {
      Routing r = s.routing;
      backend.combineRows(dFfn, dInSlots, r.slotOf(), null, false);
      Tensor byExpert = aux == null ? null : aux.byExpert(layer);
      float zScale = aux == null ? 0 : aux.zScale();
      router.backward(backend, workspace, dFfn, r, s.ffnInput, s.dWeights, byExpert, zScale, grads);
      if (shared != null) {
        shared.backward(backend, workspace, dFfn, s.shared, s.ffnInput, dXNext, grads);
      }
    }
    norm.backward(backend, dFfn, dFfn, s.residual, s.inverseRms, grads);
    backend.add(dFfn, dFfn, dXNext);
    attention.backward(backend, workspace, dX, s.attention, s.x, dFfn, grads);
  }

  /** Activations of one micro-batch in one layer. Owns its tensors. */
  public static final class Saved implements AutoCloseable {
    private final Allocation memory;
    private final SelfAttention.Saved attention;
    private final Tensor residual;
    private final Tensor inverseRms;
    private final Tensor ffnInput;
    private final FeedForward.Saved network;
    private final Routing routing;
    private final Tensor dWeights;
    private final SharedExpert.Saved shared;

    /** Owned by the caller. */
    private Tensor x;

    /** Owned by the caller. */
    private Tensor slots;

    private Saved(Allocation memory, AttentionSide side, int batch, int sequence) {
      int rows = Math.multiplyExact(batch, sequence);
      int hidden = side.config.hidden();
      this.memory = memory;
      attention = side.attention.allocate(memory, batch, sequence);
      residual = memory.reals(rows, hidden);
      inverseRms = memory.floats(rows);
      ffnInput = memory.reals(rows, hidden);
      boolean moe = side.router != null;
      network = moe ? null : new FeedForward.Saved(memory, rows, side.dense.width());
      routing = moe ? new Routing(memory, rows, side.config.requireMoe()) : null;
      dWeights = moe ? memory.floats(rows, side.config.requireMoe().topK()) : null;
      shared = side.shared == null ? null : side.shared.allocate(memory, rows, hidden);
    }

    /** [R,H] = x + attention. */
    public Tensor residual() {
      return residual;
    }

    /** [R,H] = normed residual: input of the experts, or of the dense feed-forward network. */
    public Tensor ffnInput() {
      return ffnInput;
    }

    /** Null in a dense layer. */
    public Routing routing() {
      return routing;
    }

    @Override
    public void close() {
      memory.close();
    }
  }
}

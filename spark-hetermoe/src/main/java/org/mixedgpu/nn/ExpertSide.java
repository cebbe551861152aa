package org.mixedgpu.nn;

import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.Tensor;

/**
 * The experts of one layer that the parameters include: e(x) = down(silu(gate x) · up x), rows
 * grouped by expert. Not thread-safe: all layers that share a {@link Workspace} run in one lane.
 */
public final class ExpertSide {
  private final TrainingBackend backend;
  private final Workspace workspace;
  private final int experts;
  private final int width;
  private final String gateName;
  private final String upName;
  private final String downName;
  private final Tensor gate;
  private final Tensor up;
  private final Tensor down;

  public ExpertSide(
      TrainingBackend backend,
      ModelConfig config,
      int layer,
      Parameters parameters,
      Workspace workspace) {
    this.backend = backend;
    this.workspace = workspace;
    this.experts = parameters.part().experts(config, layer).length;
    Check.input(experts > 0, "No expert of layer %d is in this part of the model", layer);
    this.width = config.requireMoe().intermediate();
    this.gateName = ParameterNames.experts(layer, "gate_proj");
    this.upName = ParameterNames.experts(layer, "up_proj");
    this.downName = ParameterNames.experts(layer, "down_proj");
    this.gate = parameters.tensor(gateName);
    this.up = parameters.tensor(upName);
    this.down = parameters.tensor(downName);
  }

  /** Experts that live here. */
  public int experts() {
    return experts;
  }

  /** Activations of one micro-batch of at most so many rows, to be used again in every step. */
  public Saved allocate(int maxRows) {
    return Allocation.of(backend, memory -> new Saved(memory, maxRows, width));
  }

  /**
   * @param outSlots [S,H]; rows outside all groups keep their contents
   * @param inSlots [S,H], S at most maxRows; must keep its contents until {@link #backward}
   * @param offsets I32 [local experts + 1]: expert e has rows [offsets[e], offsets[e+1])
   */
  public void forward(Tensor outSlots, Saved s, Tensor inSlots, Tensor offsets) {
    long rows = inSlots.shape().rows();
    if (rows > s.gate.shape().rows()) {
      throw Check.badInput(
          "The activations have room for %d rows; found %d", s.gate.shape().rows(), rows);
    }
    s.inSlots = inSlots;
    Tensor g = s.gate.rows(0, rows);
    Tensor u = s.up.rows(0, rows);
    Tensor product = workspace.reals("expert product", rows, width);
    backend.groupedMatmul(g, inSlots, gate, offsets, Transpose.NT);
    backend.groupedMatmul(u, inSlots, up, offsets, Transpose.NT);
    backend.swiglu(product, g, u);
    backend.groupedMatmul(outSlots, product, down, offsets, Transpose.NT);
  }

  /**
   * @param dInSlots [S,H]; may be dOutSlots
   * @param dOutSlots [S,H]
   * @param offsets the same as in the forward pass
   * @param grads gradients are added here
   */
  public void backward(
      Tensor dInSlots, Saved s, Tensor dOutSlots, Tensor offsets, Gradients grads) {
    long rows = s.inSlots.shape().rows();
    Tensor dGate = workspace.reals("expert dGate", rows, width);
    Tensor dUp = workspace.reals("expert dUp", rows, width);
    Tensor other = workspace.reals("expert dIn", rows, s.inSlots.shape().dim(1));
    Tensor product = workspace.reals("expert product", rows, width);
    backend.groupedMatmul(dUp, dOutSlots, down, offsets, Transpose.NN);
    backend.swigluBackward(dGate, dUp, product, dUp, s.gate.rows(0, rows), s.up.rows(0, rows));
    weightGradient(grads.sum(downName), dOutSlots, product, offsets);
    weightGradient(grads.sum(gateName), dGate, s.inSlots, offsets);
    weightGradient(grads.sum(upName), dUp, s.inSlots, offsets);
    backend.groupedMatmul(dInSlots, dGate, gate, offsets, Transpose.NN);
    backend.groupedMatmul(other, dUp, up, offsets, Transpose.NN);
    backend.add(dInSlots, dInSlots, other);
  }

  private void weightGradient(Gradients.Sum dW, Tensor dOut, Tensor in, Tensor offsets) {
    backend.groupedMatmulWeightGradient(dW.tensor(), dOut, in, offsets, dW.accumulate());
  }

  /**
   * Activations of one micro-batch. The product of gate and up is made again in the backward pass:
   * it would be a third of the experts' activations, and costs one more store. Owns its tensors.
   */
  public static final class Saved implements AutoCloseable {
    private final Allocation memory;
    private final Tensor gate;
    private final Tensor up;

    /** Owned by the caller. */
    private Tensor inSlots;

    private Saved(Allocation memory, int rows, int width) {
      this.memory = memory;
      gate = memory.reals(rows, width);
      up = memory.reals(rows, width);
    }

    @Override
    public void close() {
      memory.close();
    }
  }
}

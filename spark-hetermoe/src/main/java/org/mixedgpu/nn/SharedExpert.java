package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** The expert that every token visits, scaled by the sigmoid of a gate of its own (Qwen2-MoE). */
final class SharedExpert {
  private final FeedForward network;
  private final Linear gate;

  SharedExpert(ModelConfig config, int layer, Parameters parameters) {
    this.network =
        new FeedForward(
            parameters,
            ParameterNames.layer(layer, "mlp.shared_expert"),
            config.requireMoe().sharedIntermediate());
    this.gate = new Linear(parameters, ParameterNames.layer(layer, "mlp.shared_expert_gate"));
  }

  /** out += sigmoid(gate) · network(x). */
  void forward(Backend b, Workspace w, Tensor out, Saved s, Tensor x) {
    gate.forward(b, s.gate, x, 0);
    network.forward(b, w, s.result, s.network, x, 0);
    b.addGated(out, s.result, flat(s.gate));
  }

  /** Inference: as above, with the activations in the workspace. */
  void forward(Backend b, Workspace w, Tensor out, Tensor x) {
    Tensor scale = w.reals("shared gate", x.shape().rows(), 1);
    Tensor result = w.reals("shared result", x.shape().rows(), x.shape().dim(1));
    gate.forward(b, scale, x, 0);
    network.forward(b, w, result, x, 0);
    b.addGated(out, result, flat(scale));
  }

  /** dX += gradient by x. */
  void backward(
      TrainingBackend b, Workspace w, Tensor dX, Saved s, Tensor x, Tensor dOut, Gradients grads) {
    Tensor dResult = w.reals("shared result", x.shape().rows(), x.shape().dim(1));
    Tensor dGate = w.reals("shared gate", x.shape().rows(), 1);
    b.addGatedBackward(dResult, flat(dGate), dOut, s.result, flat(s.gate));
    gate.parameterGradient(b, dGate, x, grads);
    gate.inputGradient(b, dX, dGate, 1);
    network.backward(b, w, dX, s.network, x, dResult, 1, grads);
  }

  private static Tensor flat(Tensor column) {
    return column.view(Shape.of(column.shape().rows()));
  }

  Saved allocate(Allocation memory, long rows, int hidden) {
    return new Saved(memory, rows, hidden, network.width());
  }

  /** Activations for the backward pass. */
  static final class Saved {
    private final Tensor gate;
    private final Tensor result;
    private final FeedForward.Saved network;

    private Saved(Allocation memory, long rows, int hidden, int width) {
      gate = memory.reals(rows, 1);
      result = memory.reals(rows, hidden);
      network = new FeedForward.Saved(memory, rows, width);
    }
  }
}

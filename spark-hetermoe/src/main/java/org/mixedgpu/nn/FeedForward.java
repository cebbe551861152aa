package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/** The gated feed-forward network down(silu(gate x) · up x) of a dense layer or a shared expert. */
final class FeedForward {
  private final Linear gate;
  private final Linear up;
  private final Linear down;
  private final int width;

  FeedForward(Parameters parameters, String prefix, int width) {
    this.gate = new Linear(parameters, prefix + ".gate_proj");
    this.up = new Linear(parameters, prefix + ".up_proj");
    this.down = new Linear(parameters, prefix + ".down_proj");
    this.width = width;
  }

  int width() {
    return width;
  }

  /** out = network(in) + beta · out. */
  void forward(Backend b, Workspace w, Tensor out, Saved s, Tensor in, float beta) {
    gate.forward(b, s.gate, in, 0);
    up.forward(b, s.up, in, 0);
    Tensor product = w.reals("ffn product", in.shape().rows(), width);
    b.swiglu(product, s.gate, s.up);
    down.forward(b, out, product, beta);
  }

  /** Inference: as above, with the activations in the workspace. */
  void forward(Backend b, Workspace w, Tensor out, Tensor in, float beta) {
    Tensor g = w.reals("ffn gate", in.shape().rows(), width);
    Tensor u = w.reals("ffn up", in.shape().rows(), width);
    gate.forward(b, g, in, 0);
    up.forward(b, u, in, 0);
    b.swiglu(g, g, u);
    down.forward(b, out, g, beta);
  }

  /** dIn = gradient by in + beta · dIn. */
  void backward(
      TrainingBackend b,
      Workspace w,
      Tensor dIn,
      Saved s,
      Tensor in,
      Tensor dOut,
      float beta,
      Gradients grads) {
    long rows = in.shape().rows();
    Tensor dGate = w.reals("ffn dGate", rows, width);
    Tensor dUp = w.reals("ffn dUp", rows, width);
    Tensor product = w.reals("ffn product", rows, width);
    down.inputGradient(b, dUp, dOut, 0);
    b.swigluBackward(dGate, dUp, product, dUp, s.gate, s.up);
    down.parameterGradient(b, dOut, product, grads);
    gate.parameterGradient(b, dGate, in, grads);
    up.parameterGradient(b, dUp, in, grads);
    gate.inputGradient(b, dIn, dGate, beta);
    up.inputGradient(b, dIn, dUp, 1);
  }

  /** Activations for the backward pass, which makes the product of both again. */
  static final class Saved {
    private final Tensor gate;
    private final Tensor up;

    Saved(Allocation memory, long rows, int width) {
      gate = memory.reals(rows, width);
      up = memory.reals(rows, width);
    }
  }
}

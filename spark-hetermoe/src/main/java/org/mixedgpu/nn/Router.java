package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.Tensor;

/**
 * The gate of a MoE layer: logits, softmax, then the k largest, in F32: the choice is a jump, so
 * the logits are not rounded to the compute type.
 */
final class Router {
  private final String name;
  private final Tensor weight;
  private final MoeConfig moe;

  Router(ModelConfig config, int layer, Parameters parameters) {
    this.name = ParameterNames.router(layer);
    this.weight = parameters.tensor(name);
    this.moe = config.requireMoe();
  }

  void forward(Backend b, Routing r, Tensor x) {
    b.matmul(r.logits(), x, weight, Transpose.NT, 0);
    b.routerTopK(r.probs(), r.weights(), r.experts(), r.logits(), moe.renormalise());
    b.sortByExpert(r.slotOf(), r.rowOf(), r.offsets(), r.experts());
  }

  /** dX += gradient through the routing weights and the balancing losses. */
  void backward(
      TrainingBackend b,
      Workspace w,
      Tensor dX,
      Routing r,
      Tensor x,
      Tensor dWeights,
      Tensor auxByExpert,
      float zScale,
      Gradients grads) {
    Tensor dLogits = w.floats("router dLogits", x.shape().rows(), moe.experts());
    b.routerBackward(
        dLogits,
        dWeights,
        r.probs(),
        r.weights(),
        r.experts(),
        r.logits(),
        moe.renormalise(),
        auxByExpert,
        zScale);
    Tensor d = dLogits;
    if (weight.type() != dLogits.type()) {
      d = w.reals("router dLogits rounded", x.shape().rows(), moe.experts());
      b.copy(d, dLogits);
    }
    Gradients.Sum dWeight = grads.sum(name);
    b.matmul(dWeight.tensor(), d, x, Transpose.TN, dWeight.beta());
    b.matmul(dX, d, weight, Transpose.NN, 1);
  }
}

package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.Tensor;

/** The second half of a MoE layer with all experts in place, for inference. */
final class MoeInference {
  private final MoeConfig moe;
  private final Router router;
  private final Tensor gate;
  private final Tensor up;
  private final Tensor down;

  /** Null where the model has none. */
  private final SharedExpert shared;

  MoeInference(ModelConfig config, int layer, Parameters p) {
    this.moe = config.requireMoe();
    this.router = new Router(config, layer, p);
    this.gate = p.tensor(ParameterNames.experts(layer, "gate_proj"));
    this.up = p.tensor(ParameterNames.experts(layer, "up_proj"));
    this.down = p.tensor(ParameterNames.experts(layer, "down_proj"));
    this.shared = moe.sharedIntermediate() > 0 ? new SharedExpert(config, layer, p) : null;
  }

  /** out += experts and shared expert of x [R,H]. */
  void forward(Backend b, Workspace w, Routing routing, Tensor out, Tensor x) {
    long slots = x.shape().rows() * moe.topK();
    long hidden = x.shape().dim(1);
    Tensor in = w.reals("expert slots", slots, hidden);
    Tensor g = w.reals("expert gate", slots, moe.intermediate());
    Tensor u = w.reals("expert up", slots, moe.intermediate());
    router.forward(b, routing, x);
    b.gatherRows(in, x, routing.rowOf());
    b.groupedMatmul(g, in, gate, routing.offsets(), Transpose.NT);
    b.groupedMatmul(u, in, up, routing.offsets(), Transpose.NT);
    b.swiglu(g, g, u);
    b.groupedMatmul(in, g, down, routing.offsets(), Transpose.NT);
    b.combineRows(out, in, routing.slotOf(), routing.weights(), true);
    if (shared != null) {
      shared.forward(b, w, out, x);
    }
  }
}

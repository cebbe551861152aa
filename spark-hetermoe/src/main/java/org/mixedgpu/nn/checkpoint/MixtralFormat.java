package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.MoeConfig;

/** Mixtral: experts in every layer, the chosen weights always divided by their sum. */
final class MixtralFormat implements FamilyFormat {
  @Override
  public double defaultTheta() {
    return 1_000_000;
  }

  @Override
  public void read(ConfigDraft draft) {
    draft.fields.only("router_jitter_noise", 0, "noise on the router's input is not implemented");
    draft.slidingWindow = Windows.uniformOrNone(draft.fields, draft.layers);
    draft.moe =
        MoeFormat.read(
            draft,
            true,
            draft.fields.positive("intermediate_size"),
            0,
            MoeFormat.everyLayer(draft.layers));
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    MoeConfig moe = config.requireMoe();
    Check.input(moe.renormalise(), "A mixtral model always renormalises the chosen weights");
    FormatChecks.noBias(config);
    MoeFormat.checkEveryLayer(config);
    MoeFormat.write(out, moe, "num_local_experts");
    out.put("intermediate_size", moe.intermediate());
    out.put("head_dim", config.headDim());
    Windows.writeUniform(out, config);
  }
}

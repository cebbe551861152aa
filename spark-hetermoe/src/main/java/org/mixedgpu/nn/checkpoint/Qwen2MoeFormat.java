package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.MoeConfig;

/**
 * Qwen1.5-MoE and Qwen2-MoE: a gated shared expert beside the routed ones; dense layers mixed in.
 */
final class Qwen2MoeFormat implements FamilyFormat {
  @Override
  public void read(ConfigDraft draft) {
    draft.intermediate = draft.fields.positive("intermediate_size");
    draft.qkvBias = draft.fields.flagOr("qkv_bias", true);
    int limit =
        draft.fields.has("max_window_layers") ? draft.fields.count("max_window_layers") : 28;
    draft.slidingWindow =
        Windows.byLayer(draft.fields, draft.layers, layer -> layer % 2 == 0 && layer < limit);
    draft.moe =
        MoeFormat.read(
            draft,
            draft.fields.flagOr("norm_topk_prob", false),
            draft.fields.positive("moe_intermediate_size"),
            draft.fields.positive("shared_expert_intermediate_size"),
            MoeFormat.sparseLayers(draft));
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    MoeConfig moe = config.requireMoe();
    Check.input(
        moe.sharedIntermediate() > 0 && !config.outBias() && !config.mlpBias(),
        "A qwen2_moe model has a shared expert, and biases on queries, keys and values only");
    MoeFormat.write(out, moe, "num_experts");
    MoeFormat.writeSparseLayers(out, config);
    out.put("intermediate_size", config.intermediate());
    out.put("head_dim", config.headDim());
    out.put("shared_expert_intermediate_size", moe.sharedIntermediate());
    out.put("qkv_bias", config.qkvBias());
    Windows.writeByLayer(out, config);
  }
}

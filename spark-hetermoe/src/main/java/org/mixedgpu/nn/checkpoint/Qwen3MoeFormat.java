package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.QkNorm;

/** Qwen3-MoE: Qwen3's attention, routed experts without a shared one, dense layers mixed in. */
final class Qwen3MoeFormat implements FamilyFormat {
  @Override
  public void read(ConfigDraft draft) {
    draft.intermediate = draft.fields.positive("intermediate_size");
    draft.qkvBias = draft.fields.flagOr("attention_bias", false);
    draft.outBias = draft.qkvBias;
    draft.qkNorm = QkNorm.PER_HEAD;
    draft.fields.has("max_window_layers"); // written by Qwen; its own code does not read it
    draft.slidingWindow = Windows.switched(draft.fields, draft.layers);
    draft.moe =
        MoeFormat.read(
            draft,
            draft.fields.flagOr("norm_topk_prob", false),
            draft.fields.positive("moe_intermediate_size"),
            0,
            MoeFormat.sparseLayers(draft));
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    FormatChecks.oneAttentionBias(config);
    FormatChecks.noMlpBias(config);
    MoeFormat.write(out, config.requireMoe(), "num_experts");
    MoeFormat.writeSparseLayers(out, config);
    out.put("intermediate_size", config.intermediate());
    out.put("head_dim", config.headDim());
    out.put("attention_bias", config.qkvBias());
    Windows.writeSwitched(out, config);
  }
}

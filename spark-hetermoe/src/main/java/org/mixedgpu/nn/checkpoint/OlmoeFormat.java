package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.QkNorm;

/** OLMoE: experts in every layer, queries and keys normalised over all heads together. */
final class OlmoeFormat implements FamilyFormat {
  @Override
  public void read(ConfigDraft draft) {
    // transformers normalises queries over hidden_size elements, whatever the head size.
    if (draft.headDim * (long) draft.heads != draft.hidden) {
      throw draft.fields.failure(
          "head_dim", "hidden_size / num_attention_heads = " + draft.hidden + " / " + draft.heads);
    }
    draft.fields.absent("clip_qkv", "clipping queries, keys and values is not implemented");
    draft.qkvBias = draft.fields.flagOr("attention_bias", false);
    draft.outBias = draft.qkvBias;
    draft.qkNorm = QkNorm.WHOLE;
    draft.moe =
        MoeFormat.read(
            draft,
            draft.fields.flagOr("norm_topk_prob", false),
            draft.fields.positive("intermediate_size"),
            0,
            MoeFormat.everyLayer(draft.layers));
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    MoeConfig moe = config.requireMoe();
    FormatChecks.oneAttentionBias(config);
    FormatChecks.noWindow(config);
    FormatChecks.headSizeFollows(config);
    MoeFormat.checkEveryLayer(config);
    MoeFormat.write(out, moe, "num_experts");
    out.put("norm_topk_prob", moe.renormalise());
    out.put("intermediate_size", moe.intermediate());
    out.put("attention_bias", config.qkvBias());
  }
}

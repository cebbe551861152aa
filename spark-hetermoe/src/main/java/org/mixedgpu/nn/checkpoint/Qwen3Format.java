package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.QkNorm;

/** Qwen3: queries and keys normalised in each head. */
final class Qwen3Format implements FamilyFormat {
  @Override
  public void read(ConfigDraft draft) {
    draft.intermediate = draft.fields.positive("intermediate_size");
    draft.headDim = draft.fields.positiveOr("head_dim", 128);
    draft.qkvBias = draft.fields.flagOr("attention_bias", false);
    draft.outBias = draft.qkvBias;
    draft.qkNorm = QkNorm.PER_HEAD;
    int first =
        draft.fields.has("max_window_layers") ? draft.fields.count("max_window_layers") : 28;
    draft.slidingWindow = Windows.byLayer(draft.fields, draft.layers, layer -> layer >= first);
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    FormatChecks.oneAttentionBias(config);
    FormatChecks.noMlpBias(config);
    out.put("intermediate_size", config.intermediate());
    out.put("head_dim", config.headDim());
    out.put("attention_bias", config.qkvBias());
    Windows.writeByLayer(out, config);
  }
}

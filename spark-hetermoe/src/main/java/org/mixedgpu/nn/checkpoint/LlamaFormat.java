package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.nn.ModelConfig;

/** Llama 2 and 3.x. One switch is for the biases of all four attention projections. */
final class LlamaFormat implements FamilyFormat {
  @Override
  public void read(ConfigDraft draft) {
    draft.intermediate = draft.fields.positive("intermediate_size");
    draft.qkvBias = draft.fields.flagOr("attention_bias", false);
    draft.outBias = draft.qkvBias;
    draft.mlpBias = draft.fields.flagOr("mlp_bias", false);
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    FormatChecks.oneAttentionBias(config);
    FormatChecks.noWindow(config);
    out.put("intermediate_size", config.intermediate());
    out.put("head_dim", config.headDim());
    out.put("attention_bias", config.qkvBias());
    out.put("mlp_bias", config.mlpBias());
  }
}

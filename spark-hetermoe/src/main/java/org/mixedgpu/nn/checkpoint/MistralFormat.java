package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.nn.ModelConfig;

/** Mistral: Llama without biases, with a sliding window in every layer or none. */
final class MistralFormat implements FamilyFormat {
  @Override
  public void read(ConfigDraft draft) {
    draft.intermediate = draft.fields.positive("intermediate_size");
    draft.slidingWindow = Windows.uniform(draft.fields, draft.layers);
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    FormatChecks.noBias(config);
    out.put("intermediate_size", config.intermediate());
    out.put("head_dim", config.headDim());
    Windows.writeUniform(out, config);
  }
}

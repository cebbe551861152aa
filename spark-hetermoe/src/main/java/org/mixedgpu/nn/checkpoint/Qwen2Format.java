package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.ModelConfig;

/** Qwen2 and Qwen2.5: always a bias on queries, keys and values. */
final class Qwen2Format implements FamilyFormat {
  @Override
  public void read(ConfigDraft draft) {
    draft.intermediate = draft.fields.positive("intermediate_size");
    draft.qkvBias = true;
    int first =
        draft.fields.has("max_window_layers") ? draft.fields.count("max_window_layers") : 28;
    draft.slidingWindow = Windows.byLayer(draft.fields, draft.layers, layer -> layer >= first);
  }

  @Override
  public void write(ModelConfig config, ObjectNode out) {
    Check.input(
        config.qkvBias() && !config.outBias() && !config.mlpBias(),
        "A qwen2 model has biases on queries, keys and values, and no others");
    out.put("intermediate_size", config.intermediate());
    out.put("head_dim", config.headDim());
    Windows.writeByLayer(out, config);
  }
}

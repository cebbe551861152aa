package org.mixedgpu.nn;

import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.tensor.Shape;

/** Names and shapes of a part of a model, in the fixed order of {@link Parameters#entries}. */
public final class ParameterShapes {
  private final ModelConfig c;
  private final Part part;
  private final Map<String, Shape> shapes = new LinkedHashMap<>();

  private ParameterShapes(ModelConfig c, Part part) {
    this.c = c;
    this.part = part;
  }

  public static Map<String, Shape> of(ModelConfig config, Part part) {
    ParameterShapes all = new ParameterShapes(config, part);
    if (part.core()) {
      all.put(ParameterNames.EMBEDDING, config.vocab(), config.hidden());
    }
    for (int layer = 0; layer < config.layers(); layer++) {
      if (part.core()) {
        all.attention(layer);
        all.feedForward(layer);
      }
      all.experts(layer);
    }
    if (part.core()) {
      all.put(ParameterNames.FINAL_NORM, config.hidden());
      if (!config.tied()) {
        all.put(ParameterNames.LM_HEAD, config.vocab(), config.hidden());
      }
    }
    return all.shapes;
  }

  private void attention(int layer) {
    int hidden = c.hidden();
    putLayer(layer, "input_layernorm.weight", hidden);
    linear(layer, "self_attn.q_proj", c.queryWidth(), hidden, c.qkvBias());
    linear(layer, "self_attn.k_proj", c.kvWidth(), hidden, c.qkvBias());
    linear(layer, "self_attn.v_proj", c.kvWidth(), hidden, c.qkvBias());
    linear(layer, "self_attn.o_proj", hidden, c.queryWidth(), c.outBias());
    if (c.qkNorm() != QkNorm.NONE) {
      boolean whole = c.qkNorm() == QkNorm.WHOLE;
      putLayer(layer, "self_attn.q_norm.weight", whole ? c.queryWidth() : c.headDim());
      putLayer(layer, "self_attn.k_norm.weight", whole ? c.kvWidth() : c.headDim());
    }
    putLayer(layer, "post_attention_layernorm.weight", hidden);
  }

  private void feedForward(int layer) {
    int hidden = c.hidden();
    if (!c.isMoe(layer)) {
      linear(layer, "mlp.gate_proj", c.intermediate(), hidden, c.mlpBias());
      linear(layer, "mlp.up_proj", c.intermediate(), hidden, c.mlpBias());
      linear(layer, "mlp.down_proj", hidden, c.intermediate(), c.mlpBias());
      return;
    }
    MoeConfig moe = c.requireMoe();
    put(ParameterNames.router(layer), moe.experts(), hidden);
    int shared = moe.sharedIntermediate();
    if (shared > 0) {
      linear(layer, "mlp.shared_expert.gate_proj", shared, hidden, false);
      linear(layer, "mlp.shared_expert.up_proj", shared, hidden, false);
      linear(layer, "mlp.shared_expert.down_proj", hidden, shared, false);
      putLayer(layer, "mlp.shared_expert_gate.weight", 1, hidden);
    }
  }

  private void experts(int layer) {
    int local = part.experts(c, layer).length;
    if (local > 0) {
      int width = c.requireMoe().intermediate();
      put(ParameterNames.experts(layer, "gate_proj"), local, width, c.hidden());
      put(ParameterNames.experts(layer, "up_proj"), local, width, c.hidden());
      put(ParameterNames.experts(layer, "down_proj"), local, c.hidden(), width);
    }
  }

  private void linear(int layer, String name, int out, int in, boolean bias) {
    putLayer(layer, name + ".weight", out, in);
    if (bias) {
      putLayer(layer, name + ".bias", out);
    }
  }

  private void putLayer(int layer, String rest, long... dims) {
    put(ParameterNames.layer(layer, rest), dims);
  }

  private void put(String name, long... dims) {
    shapes.put(name, Shape.of(dims));
  }
}

package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;

/** The fields that all mixture-of-experts families share. */
final class MoeFormat {
  private MoeFormat() {}

  static Optional<MoeConfig> read(
      ConfigDraft draft,
      boolean renormalise,
      int intermediate,
      int sharedIntermediate,
      List<Boolean> sparse) {
    ConfigFields fields = draft.fields;
    int experts = fields.positiveOfEither("num_experts", "num_local_experts");
    int topK = fields.positive("num_experts_per_tok");
    if (topK > experts) {
      throw fields.failure("num_experts_per_tok", "at most the number of experts, " + experts);
    }
    // transformers adds the balancing loss only where the router's logits are returned.
    boolean balanced = fields.flagOr("output_router_logits", false);
    // Absent it is not 0 in transformers.
    double byDefault = draft.family == ModelFamily.OLMOE ? 0.01 : 0.001;
    float aux = (float) coefficient(fields, "router_aux_loss_coef", byDefault);
    return Optional.of(
        new MoeConfig(
            experts,
            topK,
            renormalise,
            intermediate,
            sharedIntermediate,
            sparse,
            balanced ? aux : 0,
            (float) coefficient(fields, "router_z_loss_coef", 0),
            balanced ? 0 : aux));
  }

  private static double coefficient(ConfigFields fields, String name, double byDefault) {
    double value = fields.numberOr(name, byDefault);
    if (value < 0) {
      throw fields.failure(name, "a number from 0 on");
    }
    return value;
  }

  static List<Boolean> everyLayer(int layers) {
    return Collections.nCopies(layers, true);
  }

  /** Qwen: every n-th layer but those in a list. */
  static List<Boolean> sparseLayers(ConfigDraft draft) {
    int step = draft.fields.positiveOr("decoder_sparse_step", 1);
    Set<Integer> dense = new HashSet<>();
    for (JsonNode layer : draft.fields.listOr("mlp_only_layers", List.of())) {
      if (!layer.canConvertToInt() || layer.intValue() < 0 || layer.intValue() >= draft.layers) {
        throw draft.fields.failure("mlp_only_layers", "layers from 0 to " + (draft.layers - 1));
      }
      dense.add(layer.intValue());
    }
    List<Boolean> sparse = new ArrayList<>();
    for (int layer = 0; layer < draft.layers; layer++) {
      sparse.add(!dense.contains(layer) && (layer + 1) % step == 0);
    }
    return sparse;
  }

  static void write(ObjectNode out, MoeConfig moe, String nameOfExperts) {
    out.put(nameOfExperts, moe.experts());
    out.put("num_experts_per_tok", moe.topK());
    out.put("output_router_logits", moe.auxCoefficient() > 0);
    out.put("router_aux_loss_coef", decimal(moe.namedAuxCoefficient()));
    if (moe.zCoefficient() > 0) {
      out.put("router_z_loss_coef", decimal(moe.zCoefficient()));
    }
  }

  static void writeSparseLayers(ObjectNode out, ModelConfig config) {
    MoeConfig moe = config.requireMoe();
    out.put("norm_topk_prob", moe.renormalise());
    out.put("moe_intermediate_size", moe.intermediate());
    out.put("decoder_sparse_step", 1);
    ArrayNode dense = out.putArray("mlp_only_layers");
    for (int layer = 0; layer < config.layers(); layer++) {
      if (!config.isMoe(layer)) {
        dense.add(layer);
      }
    }
  }

  static void checkEveryLayer(ModelConfig config) {
    Check.input(
        config.requireMoe().sparseLayers() == config.layers()
            && config.requireMoe().sharedIntermediate() == 0,
        "A %s model has experts in every layer and no shared expert",
        config.family().modelType());
  }

  /** The shortest decimal that gives this float, so that 0.02f is written as 0.02. */
  static double decimal(float value) {
    return Double.parseDouble(Float.toString(value));
  }
}

package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.safetensors.StoredType;

/**
 * {@link ModelConfig} from and to the {@code config.json} of Hugging Face transformers, versions 4
 * and 5. Every field is understood, known to be harmless, or an error that names it.
 */
public final class ModelConfigs {
  private static final ObjectMapper JSON =
      new ObjectMapper()
          .enable(JsonParser.Feature.STRICT_DUPLICATE_DETECTION)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);

  /** Fields that change no result, and why. */
  private static final Map<String, String> HARMLESS =
      Map.ofEntries(
          Map.entry("_name_or_path", "where the file came from"),
          Map.entry("_attn_implementation_autoset", "how transformers chose its kernel"),
          Map.entry("attn_implementation", "which kernel transformers uses"),
          Map.entry("transformers_version", "who wrote the file"),
          Map.entry("dtype", "the safetensors files say how they are stored"),
          Map.entry("torch_dtype", "the older name of dtype"),
          Map.entry("use_cache", "what generate() of transformers does"),
          Map.entry("pad_token_id", "padding is no target; PyTorch also freezes its embedding"),
          Map.entry("pretraining_tp", "the order of sums in a tensor-parallel training run"),
          Map.entry("is_llama_config", "no code reads it"),
          Map.entry("transformers.js_config", "for JavaScript"),
          Map.entry("max_length", "what generate() does"),
          Map.entry("temperature", "what generate() does"),
          Map.entry("top_k", "what generate() does"),
          Map.entry("top_p", "what generate() does"),
          Map.entry("do_sample", "what generate() does"),
          Map.entry("repetition_penalty", "what generate() does"),
          Map.entry("max_window_layers", "read where a family has sliding windows"));

  private ModelConfigs() {}

  /**
   * @param source named in errors: the file's path
   */
  public static ModelConfig parse(String json, String source) {
    ConfigFields fields = new ConfigFields(tree(json, source), source, "");
    ModelFamily family = family(fields);
    FamilyFormat format = FamilyFormat.of(family);
    fields.absent("quantization_config", "quantized weights can't be read");
    fields.absent("auto_map", "the model's own Python code can't be run");
    ConfigDraft draft = new ConfigDraft(fields, family, format.defaultTheta());
    format.read(draft);
    ModelConfig config = draft.finish();
    fields.finish(HARMLESS);
    return config;
  }

  private static JsonNode tree(String json, String source) {
    try {
      JsonNode root = JSON.readTree(json);
      Check.intact(root != null && root.isObject(), "%s is not a JSON object", source);
      return root;
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(
          Fault.CORRUPT, source + " is not JSON: " + e.getOriginalMessage(), e);
    }
  }

  private static ModelFamily family(ConfigFields fields) {
    String type = fields.text("model_type");
    List<String> known = new ArrayList<>();
    for (ModelFamily family : ModelFamily.values()) {
      known.add(family.modelType());
      if (family.modelType().equals(type)) {
        for (JsonNode architecture : fields.listOr("architectures", List.of())) {
          if (!architecture.asText().equals(family.architecture())) {
            throw fields.failure("architectures", family.architecture() + ", a language model");
          }
        }
        return family;
      }
    }
    throw fields.failure("model_type", "one of " + String.join(", ", known));
  }

  /**
   * The config.json of a model; {@code BAD_INPUT} where its family can't have one of the values.
   *
   * @param stored the type its weights are stored in
   */
  public static String toJson(ModelConfig config, StoredType stored) {
    ObjectNode out = JSON.createObjectNode();
    out.putArray("architectures").add(config.family().architecture());
    out.put("model_type", config.family().modelType());
    out.put("torch_dtype", typeName(stored));
    out.put("vocab_size", config.vocab());
    out.put("hidden_size", config.hidden());
    out.put("num_hidden_layers", config.layers());
    out.put("num_attention_heads", config.heads());
    out.put("num_key_value_heads", config.kvHeads());
    out.put("max_position_embeddings", config.maxPositions());
    out.put("hidden_act", "silu");
    out.put("rms_norm_eps", MoeFormat.decimal(config.rmsEps()));
    out.put("initializer_range", MoeFormat.decimal(config.initializerRange()));
    out.put("attention_dropout", 0.0);
    out.put("tie_word_embeddings", config.tied());
    out.put("use_cache", true);
    if (config.bosId() < 0) {
      out.putNull("bos_token_id");
    } else {
      out.put("bos_token_id", config.bosId());
    }
    writeEos(out, config.eosIds());
    RopeFormat.write(out, config.rope());
    checkQkNorm(config);
    FamilyFormat.of(config.family()).write(config, out);
    try {
      return JSON.writerWithDefaultPrettyPrinter().writeValueAsString(out) + "\n";
    } catch (JsonProcessingException e) {
      throw new MixedGpuException(Fault.BUG, "A model config can't be written as JSON", e);
    }
  }

  private static void writeEos(ObjectNode out, List<Integer> ids) {
    switch (ids.size()) {
      case 0 -> out.putNull("eos_token_id");
      case 1 -> out.put("eos_token_id", ids.get(0));
      default -> ids.forEach(out.putArray("eos_token_id")::add);
    }
  }

  private static void checkQkNorm(ModelConfig config) {
    QkNorm fixed =
        switch (config.family()) {
          case QWEN3, QWEN3_MOE -> QkNorm.PER_HEAD;
          case OLMOE -> QkNorm.WHOLE;
          case LLAMA, MISTRAL, QWEN2, MIXTRAL, QWEN2_MOE -> QkNorm.NONE;
        };
    Check.input(
        config.qkNorm() == fixed,
        "A %s model normalises queries and keys as %s; found %s",
        config.family().modelType(),
        fixed,
        config.qkNorm());
  }

  private static String typeName(StoredType type) {
    return switch (type) {
      case F32 -> "float32";
      case F16 -> "float16";
      case BF16 -> "bfloat16";
      case I32, I64 ->
          throw new MixedGpuException(
              Fault.BAD_INPUT, "Weights are stored as F32, F16 or BF16, not as " + type);
    };
  }
}

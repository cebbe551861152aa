package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;

/** What one family adds to the fields that all share. */
interface FamilyFormat {
  /** {@code rope_theta} where the file has none. */
  default double defaultTheta() {
    return 10_000;
  }

  /** Reads the family's own fields. */
  void read(ConfigDraft draft);

  /** Writes the family's own fields; those that the family can't say must be at its fixed value. */
  void write(ModelConfig config, ObjectNode out);

  static FamilyFormat of(ModelFamily family) {
    return switch (family) {
      case LLAMA -> new LlamaFormat();
      case MISTRAL -> new MistralFormat();
      case QWEN2 -> new Qwen2Format();
      case QWEN3 -> new Qwen3Format();
      case MIXTRAL -> new MixtralFormat();
      case QWEN2_MOE -> new Qwen2MoeFormat();
      case QWEN3_MOE -> new Qwen3MoeFormat();
      case OLMOE -> new OlmoeFormat();
    };
  }
}

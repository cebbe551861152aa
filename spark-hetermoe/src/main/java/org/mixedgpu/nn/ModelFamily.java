package org.mixedgpu.nn;

/** The model families of Hugging Face transformers that this library reads, trains and writes. */
public enum ModelFamily {
  LLAMA("llama", "LlamaForCausalLM"),
  MISTRAL("mistral", "MistralForCausalLM"),
  QWEN2("qwen2", "Qwen2ForCausalLM"),
  QWEN3("qwen3", "Qwen3ForCausalLM"),
  MIXTRAL("mixtral", "MixtralForCausalLM"),
  QWEN2_MOE("qwen2_moe", "Qwen2MoeForCausalLM"),
  QWEN3_MOE("qwen3_moe", "Qwen3MoeForCausalLM"),
  OLMOE("olmoe", "OlmoeForCausalLM");

  private final String modelType;
  private final String architecture;

  ModelFamily(String modelType, String architecture) {
    this.modelType = modelType;
    this.architecture = architecture;
  }

  /** {@code model_type} of config.json. */
  public String modelType() {
    return modelType;
  }

  /** The one entry of {@code architectures} in config.json. */
  public String architecture() {
    return architecture;
  }
}

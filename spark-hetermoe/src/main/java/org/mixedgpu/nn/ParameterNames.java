package org.mixedgpu.nn;

/**
 * The names of parameters in memory: Hugging Face's of the Qwen MoE families for all families, with
 * the experts of a layer stacked into one tensor per projection. Checkpoints map them to the names
 * that a family has on disk.
 */
public final class ParameterNames {
  public static final String EMBEDDING = "model.embed_tokens.weight";
  public static final String FINAL_NORM = "model.norm.weight";
  public static final String LM_HEAD = "lm_head.weight";

  private ParameterNames() {}

  /** Such as {@code layer(3, "input_layernorm.weight")}. */
  public static String layer(int layer, String rest) {
    return "model.layers." + layer + "." + rest;
  }

  /** Whether this is the gain of a norm. */
  static boolean isGain(String name) {
    return name.endsWith("norm.weight");
  }

  /** The router's weight [E,H]. */
  public static String router(int layer) {
    return layer(layer, "mlp.gate.weight");
  }

  /**
   * A layer's stacked experts; projection is {@code gate_proj}, {@code up_proj} or {@code
   * down_proj}.
   */
  public static String experts(int layer, String projection) {
    return layer(layer, "mlp.experts." + projection);
  }

  /** One expert's matrix, as the Qwen MoE families name it on disk. */
  public static String expert(int layer, int expert, String projection) {
    return layer(layer, "mlp.experts." + expert + "." + projection + ".weight");
  }
}

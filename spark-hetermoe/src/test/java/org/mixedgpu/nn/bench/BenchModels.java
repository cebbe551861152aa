package org.mixedgpu.nn.bench;

import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Random;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;

/** The models that the CUDA benchmarks are about, and their configs for transformers. */
public final class BenchModels {
  private BenchModels() {}

  /** The shape of Llama-3-8B. */
  public static ModelConfig llama3() {
    return llama(128256, 4096, 32, 32, 8, 14336, 131072);
  }

  /** A Llama that tries a benchmark itself. */
  public static ModelConfig smallLlama() {
    return llama(300, 256, 2, 4, 2, 512, 4096);
  }

  /**
   * A Llama of some size.
   *
   * @param width of the feed-forward network
   */
  public static ModelConfig llama(
      int vocab, int hidden, int layers, int heads, int kvHeads, int width, int positions) {
    return config(
        ModelFamily.LLAMA,
        vocab,
        hidden,
        layers,
        heads,
        kvHeads,
        width,
        RopeConfig.unscaled(500000),
        Optional.empty(),
        positions);
  }

  /**
   * Mixtral in the sizes of the HeterMoE paper: heads of 64, experts 3.5 times as wide as the
   * model, two of them for each token. D1 is {@code (8, 1024, 24)}, W1 is {@code (4, 2048, 12)}.
   */
  public static ModelConfig mixtral(int layers, int hidden, int experts) {
    List<Boolean> all = Collections.nCopies(layers, true);
    return config(
        ModelFamily.MIXTRAL,
        32000,
        hidden,
        layers,
        hidden / 64,
        hidden / 64,
        0,
        RopeConfig.unscaled(1e6),
        Optional.of(new MoeConfig(experts, 2, true, hidden * 7 / 2, 0, all, 0, 0)),
        65536);
  }

  private static ModelConfig config(
      ModelFamily family,
      int vocab,
      int hidden,
      int layers,
      int heads,
      int kvHeads,
      int width,
      RopeConfig rope,
      Optional<MoeConfig> moe,
      int positions) {
    return new ModelConfig(
        family,
        vocab,
        hidden,
        layers,
        heads,
        kvHeads,
        hidden / heads,
        width,
        1e-5f,
        rope,
        false,
        false,
        false,
        QkNorm.NONE,
        Collections.nCopies(layers, 0),
        false,
        moe,
        0.02f,
        positions,
        1,
        List.of(2));
  }

  /** The command that opens the same model in torch_gpu.py. */
  public static String open(ModelConfig c) {
    String experts =
        c.moe()
            .map(
                m ->
                    String.format(
                        Locale.ROOT,
                        ",\"num_local_experts\":%d,\"num_experts_per_tok\":%d,"
                            + "\"sliding_window\":null,\"attention_dropout\":0.0",
                        m.experts(),
                        m.topK()))
            .orElse("");
    return String.format(
        Locale.ROOT,
        "open %s {\"vocab_size\":%d,\"hidden_size\":%d,\"num_hidden_layers\":%d,"
            + "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,\"intermediate_size\":%d,"
            + "\"max_position_embeddings\":%d,"
            + "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":%.1f}%s}",
        c.family().modelType(),
        c.vocab(),
        c.hidden(),
        c.layers(),
        c.heads(),
        c.kvHeads(),
        c.moe().map(MoeConfig::intermediate).orElse(c.intermediate()),
        c.maxPositions(),
        c.rope().theta(),
        experts);
  }

  /** Random token ids. */
  public static int[] tokens(int count, int vocab, long seed) {
    return new Random(seed).ints(count, 0, vocab).toArray();
  }
}

package org.mixedgpu.cake.prefill;

import java.util.Locale;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.RopeConfig;
import org.mixedgpu.tensor.DType;

/** The KV layout of a model. */
public final class Layouts {
  private Layouts() {}

  /**
   * @param type that the device computes in: KV is stored as it was computed
   * @param weightsDigest SHA-256 of weights and configuration, hexadecimal
   * @param chunkTokens tokens of one chunk
   */
  public static KvLayout of(ModelConfig config, DType type, String weightsDigest, int chunkTokens) {
    return new KvLayout(
        weightsDigest,
        config.layers(),
        config.kvHeads(),
        config.headDim(),
        type,
        text(config.rope()),
        chunkTokens);
  }

  /** Hexadecimal, for that has one spelling per number. */
  private static String text(RopeConfig rope) {
    return String.format(
        Locale.ROOT,
        "%s theta=%a factor=%a low=%a high=%a original=%d fast=%a slow=%a attention=%a mscale=%a"
            + " mscaleAllDim=%a truncate=%b",
        rope.type(),
        rope.theta(),
        rope.factor(),
        rope.lowFreqFactor(),
        rope.highFreqFactor(),
        rope.originalMaxPositions(),
        rope.betaFast(),
        rope.betaSlow(),
        rope.attentionFactor(),
        rope.mscale(),
        rope.mscaleAllDim(),
        rope.truncate());
  }
}

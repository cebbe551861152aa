package org.mixedgpu.hetermoe.train;

import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;

/** Tiny models with experts, one for each way in which attention and experts meet. */
public final class ZebraModels {
  static final int VOCAB = 61;

  private ZebraModels() {}

  static ModelConfig mixtral(float auxCoefficient) {
    List<Boolean> sparse = List.of(true, true, true);
    MoeConfig moe = new MoeConfig(5, 2, true, 24, 0, sparse, auxCoefficient, 0);
    return model(ModelFamily.MIXTRAL, moe, false, QkNorm.NONE, false);
  }

  static ModelConfig qwen3Moe(float auxCoefficient) {
    List<Boolean> sparse = List.of(true, true);
    MoeConfig moe = new MoeConfig(8, 3, true, 16, 0, sparse, auxCoefficient, 0);
    return model(ModelFamily.QWEN3_MOE, moe, false, QkNorm.PER_HEAD, true);
  }

  /** A gated shared expert; dense layers first, between and last. */
  public static ModelConfig qwen2Moe(float auxCoefficient) {
    List<Boolean> sparse = List.of(false, true, false, true, false);
    MoeConfig moe = new MoeConfig(4, 2, false, 16, 20, sparse, auxCoefficient, 0.001f);
    return model(ModelFamily.QWEN2_MOE, moe, true, QkNorm.NONE, false);
  }

  /** Sizes that kernels of all types like; a shared expert, and dense layers between. */
  public static ModelConfig wide() {
    List<Boolean> sparse = List.of(false, true, false, true);
    MoeConfig moe = new MoeConfig(4, 2, false, 64, 64, sparse, 0.02f, 0.001f);
    return new ModelConfig(
        ModelFamily.QWEN2_MOE,
        64,
        128,
        sparse.size(),
        2,
        1,
        64,
        192,
        1e-5f,
        RopeConfig.unscaled(10_000),
        true,
        false,
        false,
        QkNorm.NONE,
        Collections.nCopies(sparse.size(), 0),
        false,
        Optional.of(moe),
        0.05f,
        64,
        -1,
        List.of());
  }

  private static ModelConfig model(
      ModelFamily family, MoeConfig moe, boolean qkvBias, QkNorm qkNorm, boolean tied) {
    int layers = moe.sparse().size();
    return new ModelConfig(
        family,
        VOCAB,
        32,
        layers,
        4,
        2,
        8,
        40,
        1e-5f,
        RopeConfig.unscaled(10_000),
        qkvBias,
        false,
        false,
        qkNorm,
        Collections.nCopies(layers, 0),
        tied,
        Optional.of(moe),
        0.1f,
        64,
        -1,
        List.of());
  }
}

package org.mixedgpu.nn.checkpoint;

import org.mixedgpu.base.Check;
import org.mixedgpu.nn.ModelConfig;

/** What a family's config.json can't say must not be asked for when one is written. */
final class FormatChecks {
  private FormatChecks() {}

  static void oneAttentionBias(ModelConfig config) {
    Check.input(
        config.qkvBias() == config.outBias(),
        "A %s model has biases on all four attention projections or on none",
        config.family().modelType());
  }

  static void noMlpBias(ModelConfig config) {
    Check.input(
        !config.mlpBias(), "A %s model has no feed-forward biases", config.family().modelType());
  }

  static void noBias(ModelConfig config) {
    Check.input(
        !config.qkvBias() && !config.outBias() && !config.mlpBias(),
        "A %s model has no biases",
        config.family().modelType());
  }

  static void noWindow(ModelConfig config) {
    Check.input(
        config.slidingWindow().stream().allMatch(w -> w == 0),
        "A %s model has no sliding window; found %s",
        config.family().modelType(),
        config.slidingWindow());
  }

  static void headSizeFollows(ModelConfig config) {
    Check.input(
        config.headDim() * config.heads() == config.hidden(),
        "A %s model has a head size of width / heads = %d / %d; found %d",
        config.family().modelType(),
        config.hidden(),
        config.heads(),
        config.headDim());
  }
}

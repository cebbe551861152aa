package org.mixedgpu.nn.checkpoint;

import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;

/** A {@link ModelConfig} being read: what all families share, then what one family adds. */
final class ConfigDraft {
  final ConfigFields fields;
  final ModelFamily family;
  final int vocab;
  final int hidden;
  final int layers;
  final int heads;
  final int maxPositions;
  final RopeConfig rope;
  int kvHeads;
  int headDim;
  int intermediate;
  boolean qkvBias;
  boolean outBias;
  boolean mlpBias;
  QkNorm qkNorm = QkNorm.NONE;
  List<Integer> slidingWindow;
  Optional<MoeConfig> moe = Optional.empty();

  ConfigDraft(ConfigFields fields, ModelFamily family, double defaultTheta) {
    this.fields = fields;
    this.family = family;
    this.vocab = fields.positive("vocab_size");
    this.hidden = fields.positive("hidden_size");
    this.layers = fields.positive("num_hidden_layers");
    this.heads = fields.positive("num_attention_heads");
    this.maxPositions = fields.positive("max_position_embeddings");
    this.rope = RopeFormat.read(fields, defaultTheta, maxPositions);
    this.slidingWindow = Collections.nCopies(layers, 0);
    this.kvHeads = fields.positiveOr("num_key_value_heads", heads);
    if (!fields.has("head_dim") && hidden % heads != 0) {
      throw fields.failure("hidden_size", "a multiple of num_attention_heads = " + heads);
    }
    this.headDim = fields.positiveOr("head_dim", hidden / heads);
  }

  ModelConfig finish() {
    String activation = fields.textOr("hidden_act", "silu");
    if (!activation.equals("silu")) {
      throw fields.failure("hidden_act", "silu, the only activation there is here");
    }
    fields.only(
        "attention_dropout", 0, "dropout is not implemented; without training 0 is the same");
    double eps = fields.number("rms_norm_eps");
    if (!((float) eps > 0 && eps < 1)) {
      throw fields.failure("rms_norm_eps", "a number between 0 and 1");
    }
    double deviation = fields.numberOr("initializer_range", 0.02);
    if (!(deviation >= 0 && deviation <= 1)) {
      throw fields.failure("initializer_range", "a number from 0 to 1");
    }
    List<Integer> bos = fields.ids("bos_token_id");
    return new ModelConfig(
        family,
        vocab,
        hidden,
        layers,
        heads,
        kvHeads,
        headDim,
        intermediate,
        (float) eps,
        rope,
        qkvBias,
        outBias,
        mlpBias,
        qkNorm,
        slidingWindow,
        fields.flagOr("tie_word_embeddings", false),
        moe,
        (float) deviation,
        maxPositions,
        bos.isEmpty() ? -1 : bos.get(0),
        fields.ids("eos_token_id"));
  }
}

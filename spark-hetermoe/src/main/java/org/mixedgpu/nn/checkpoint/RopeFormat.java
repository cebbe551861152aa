package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.Map;
import org.mixedgpu.nn.RopeConfig;
import org.mixedgpu.nn.RopeConfig.Type;

/**
 * The rotary position embedding in config.json: {@code rope_theta} and {@code rope_scaling} up to
 * transformers 4, {@code rope_parameters} from 5 on. Written in the older spelling, which both
 * read.
 */
final class RopeFormat {
  private RopeFormat() {}

  static RopeConfig read(ConfigFields fields, double defaultTheta, int maxPositions) {
    fields.only("partial_rotary_factor", 1, "rotating a part of a head is not implemented");
    if (fields.flagOr("rope_interleaved", false)) {
      throw fields.failure("rope_interleaved", "false: rotating adjacent pairs is not implemented");
    }
    double theta = fields.numberOr("rope_theta", defaultTheta);
    int original = fields.positiveOr("original_max_position_embeddings", maxPositions);
    boolean recent = fields.has("rope_parameters");
    if (recent && fields.has("rope_scaling")) {
      throw fields.failure("rope_scaling", "nothing beside rope_parameters");
    }
    if (!recent && !fields.has("rope_scaling")) {
      return RopeConfig.unscaled(theta);
    }
    ConfigFields rope = fields.object(recent ? "rope_parameters" : "rope_scaling");
    RopeConfig read = scaled(rope, rope.numberOr("rope_theta", theta), original);
    rope.finish(Map.of());
    return read;
  }

  private static RopeConfig scaled(ConfigFields rope, double theta, int original) {
    rope.only("partial_rotary_factor", 1, "rotating a part of a head is not implemented");
    String type = rope.textOr("rope_type", rope.textOr("type", "default"));
    if (rope.has("type") && !rope.text("type").equals(type)) {
      throw rope.failure("type", "the value of rope_type, " + type);
    }
    int length = rope.positiveOr("original_max_position_embeddings", original);
    return switch (type) {
      case "default" -> RopeConfig.unscaled(theta);
      case "linear" -> RopeConfig.linear(theta, rope.number("factor"));
      case "llama3" ->
          RopeConfig.llama3(
              theta,
              rope.number("factor"),
              rope.number("low_freq_factor"),
              rope.number("high_freq_factor"),
              length);
      case "yarn" ->
          new RopeConfig(
              Type.YARN,
              theta,
              rope.number("factor"),
              0,
              0,
              length,
              rope.numberOr("beta_fast", 0),
              rope.numberOr("beta_slow", 0),
              rope.numberOr("attention_factor", 0),
              rope.numberOr("mscale", 0),
              rope.numberOr("mscale_all_dim", 0),
              rope.flagOr("truncate", true));
      default -> throw rope.failure("rope_type", "default, linear, llama3 or yarn");
    };
  }

  static void write(ObjectNode out, RopeConfig rope) {
    out.put("rope_theta", rope.theta());
    if (rope.type() == Type.DEFAULT) {
      out.putNull("rope_scaling");
      return;
    }
    ObjectNode scaling = out.putObject("rope_scaling");
    switch (rope.type()) {
      case DEFAULT, LINEAR -> scaling.put("rope_type", "linear");
      case LLAMA3 -> {
        scaling.put("rope_type", "llama3");
        scaling.put("low_freq_factor", rope.lowFreqFactor());
        scaling.put("high_freq_factor", rope.highFreqFactor());
        scaling.put("original_max_position_embeddings", rope.originalMaxPositions());
      }
      case YARN -> {
        scaling.put("rope_type", "yarn");
        scaling.put("original_max_position_embeddings", rope.originalMaxPositions());
        putUnlessZero(scaling, "beta_fast", rope.betaFast());
        putUnlessZero(scaling, "beta_slow", rope.betaSlow());
        putUnlessZero(scaling, "attention_factor", rope.attentionFactor());
        putUnlessZero(scaling, "mscale", rope.mscale());
        putUnlessZero(scaling, "mscale_all_dim", rope.mscaleAllDim());
        if (!rope.truncate()) {
          scaling.put("truncate", false);
        }
      }
    }
    scaling.put("factor", rope.factor());
  }

  private static void putUnlessZero(ObjectNode node, String name, double value) {
    if (value != 0) {
      node.put(name, value);
    }
  }
}

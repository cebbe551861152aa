package org.mixedgpu.nn.checkpoint;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.IntPredicate;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.ModelConfig;

/** Sliding windows in config.json. */
final class Windows {
  private static final String SLIDING = "sliding_attention";
  private static final String FULL = "full_attention";

  /**
   * What transformers takes where sliding_window is absent, in all families here but Mixtral. Null
   * is no window in all of them.
   */
  private static final int DEFAULT = 4096;

  private Windows() {}

  /** Mistral: one window for every layer, or null. */
  static List<Integer> uniform(ConfigFields fields, int layers) {
    return Collections.nCopies(layers, fields.positiveOrNone("sliding_window", DEFAULT));
  }

  /** Mixtral: as {@link #uniform}, but absent is no window. */
  static List<Integer> uniformOrNone(ConfigFields fields, int layers) {
    return Collections.nCopies(layers, fields.positiveOr("sliding_window", 0));
  }

  /** Qwen3-MoE: as {@link #uniform}, but with a switch that is off by default. */
  static List<Integer> switched(ConfigFields fields, int layers) {
    boolean on = fields.flagOr("use_sliding_window", false);
    if (!on) {
      fields.has("sliding_window");
      return Collections.nCopies(layers, 0);
    }
    return uniform(fields, layers);
  }

  /**
   * Qwen2, Qwen3 and Qwen2-MoE: a kind for each layer, in {@code layer_types} or by a rule.
   *
   * @param byRule which layers slide where there is no list
   */
  static List<Integer> byLayer(ConfigFields fields, int layers, IntPredicate byRule) {
    boolean on = fields.flagOr("use_sliding_window", false);
    int window = on ? fields.positiveOrNone("sliding_window", DEFAULT) : 0;
    // Read so that it counts as known where the switch is off.
    fields.has("sliding_window");
    List<JsonNode> types = fields.listOr("layer_types", null);
    List<Integer> windows = new ArrayList<>();
    if (types != null && types.size() != layers) {
      throw fields.failure("layer_types", "a list of num_hidden_layers = " + layers);
    }
    for (int layer = 0; layer < layers; layer++) {
      boolean slides;
      if (types == null) {
        slides = window > 0 && byRule.test(layer);
      } else {
        String type = types.get(layer).asText();
        if (!type.equals(FULL) && !(type.equals(SLIDING) && window > 0)) {
          throw fields.failure(
              "layer_types",
              FULL + ", or " + SLIDING + " with use_sliding_window and a sliding_window");
        }
        slides = type.equals(SLIDING);
      }
      windows.add(slides ? window : 0);
    }
    return windows;
  }

  static void writeUniform(ObjectNode out, ModelConfig config) {
    int window = config.slidingWindow(0);
    Check.input(
        config.slidingWindow().stream().allMatch(w -> w == window),
        "A %s model has one sliding window for all layers; found %s",
        config.family().modelType(),
        config.slidingWindow());
    if (window == 0) {
      out.putNull("sliding_window");
    } else {
      out.put("sliding_window", window);
    }
  }

  static void writeSwitched(ObjectNode out, ModelConfig config) {
    writeUniform(out, config);
    out.put("use_sliding_window", config.slidingWindow(0) > 0);
  }

  static void writeByLayer(ObjectNode out, ModelConfig config) {
    int window = Collections.max(config.slidingWindow());
    Check.input(
        config.slidingWindow().stream().allMatch(w -> w == window || w == 0),
        "A %s model has one sliding window, used or not in a layer; found %s",
        config.family().modelType(),
        config.slidingWindow());
    out.put("use_sliding_window", window > 0);
    if (window > 0) {
      out.put("sliding_window", window);
    } else {
      out.putNull("sliding_window");
    }
    // Older readers know this number only: the layers from it on slide.
    int first = 0;
    while (first < config.layers() && config.slidingWindow(first) == 0) {
      first++;
    }
    out.put("max_window_layers", first);
    ArrayNode types = out.putArray("layer_types");
    for (int w : config.slidingWindow()) {
      types.add(w > 0 ? SLIDING : FULL);
    }
  }
}

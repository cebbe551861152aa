package org.mixedgpu.hetermoe.spark;

import java.io.IOException;
import java.io.InputStream;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.TextFiles;

/**
 * What the {@code model} option means.
 *
 * @param json the model's config.json
 * @param name for messages: where it came from
 * @param weights folder to continue from; empty for a new model
 */
record ModelSource(String json, String name, String weights) implements Serializable {
  /** In {@code conf/models} of the sources, resources of the jar. */
  static final List<String> PRESETS =
      List.of("tiny-mixtral", "tiny-qwen3moe", "paper-mixtral-w1", "paper-mixtral-d1");

  private static final int MAX_BYTES = 1 << 20;

  static ModelSource of(String model, FileStore store) {
    if (PRESETS.contains(model)) {
      return new ModelSource(preset(model), "preset " + model, "");
    }
    if (model.endsWith(".json")) {
      return new ModelSource(TextFiles.read(store, model, MAX_BYTES), model, "");
    }
    String config = FileStore.in(model, "config.json");
    Check.input(
        !model.isBlank() && store.exists(config),
        "Model '%s' is none: it is no preset (%s), does not end in .json, and there is no %s",
        model,
        String.join(", ", PRESETS),
        config);
    return new ModelSource(TextFiles.read(store, config, MAX_BYTES), config, model);
  }

  private static String preset(String name) {
    try (InputStream in = ModelSource.class.getResourceAsStream("models/" + name + ".json")) {
      Check.that(in != null, "The jar lacks its preset %s", name);
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}

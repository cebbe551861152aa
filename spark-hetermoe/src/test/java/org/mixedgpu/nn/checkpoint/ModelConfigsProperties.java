package org.mixedgpu.nn.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.safetensors.StoredType;

class ModelConfigsProperties {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final String[] VALUES = {
    "null",
    "0",
    "-1",
    "1",
    "2",
    "7",
    "1e99",
    "1e-60",
    "-0.5",
    "0.5",
    "2147483648",
    "true",
    "false",
    "\"\"",
    "\"yarn\"",
    "\"linear\"",
    "[]",
    "[0]",
    "[\"sliding_attention\"]",
    "{}",
    "{\"rope_type\":\"yarn\"}"
  };

  /** A config with any of its values replaced is refused in our words, or is a sound config. */
  @Property(tries = 2000)
  void anyValueIsRefusedOrUnderstood(@ForAll long seed) throws IOException {
    Random random = new Random(seed);
    List<String> cases = Golden.cases();
    String name = cases.get(random.nextInt(cases.size()));
    ObjectNode config =
        (ObjectNode) JSON.readTree(Files.readString(Path.of(Golden.folder(name), "config.json")));
    for (int i = random.nextInt(3); i >= 0; i--) {
      ObjectNode target =
          config.get("rope_parameters") instanceof ObjectNode rope
                  && !rope.isEmpty()
                  && random.nextInt(4) == 0
              ? rope
              : config;
      List<String> fields = new ArrayList<>();
      target.fieldNames().forEachRemaining(fields::add);
      String field = fields.get(random.nextInt(fields.size()));
      JsonNode value = JSON.readTree(VALUES[random.nextInt(VALUES.length)]);
      target.set(field, value);
    }
    ModelConfig read;
    try {
      read = ModelConfigs.parse(config.toString(), "here");
    } catch (MixedGpuException e) {
      assertThat(e).hasMessageNotContaining("null pointer");
      return;
    }
    assertThat(read.heads() % read.kvHeads()).isZero();
    String json = ModelConfigs.toJson(read, StoredType.F32);
    assertThat(ModelConfigs.parse(json, "written")).isEqualTo(read);
  }
}

package org.mixedgpu.nn.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.safetensors.Safetensors;
import org.mixedgpu.nn.safetensors.StoredType;
import org.mixedgpu.tensor.Tensor;

class CheckpointTest {
  private final FileStore files = HadoopFileStore.ofDefaults();
  private final TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  @TempDir Path folder;

  @AfterEach
  void nothingIsLeftOpen() {
    backend.close();
  }

  static List<String> cases() {
    return Golden.cases();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void savingWhatWasLoadedGivesTheSameTensors(String name) throws IOException {
    String golden = Golden.folder(name);
    String copy = folder.resolve("copy").toString();
    try (Parameters parameters = Checkpoint.load(files, golden, backend, Part.all())) {
      StoredType type = storedType(golden);
      Checkpoint.save(files, copy, backend, parameters, new SaveOptions(type, 200_000));
    }
    assertThat(Checkpoint.config(files, copy)).isEqualTo(Checkpoint.config(files, golden));
    assertThat(Checkpoint.digest(files, copy)).isEqualTo(Checkpoint.digest(files, golden));
    try (Stream<Path> left = Files.list(Path.of(copy))) {
      assertThat(left).noneMatch(file -> file.toString().endsWith(".tmp"));
    }
  }

  private StoredType storedType(String golden) {
    try (WeightFiles weights = WeightFiles.open(files, golden)) {
      return weights.tensors().get("model.norm.weight").entry().type();
    }
  }

  @Test
  void convertsHalvesToFloats() {
    try (Parameters parameters =
            Checkpoint.load(files, Golden.folder("mixtral_old_bf16"), backend, Part.all());
        WeightFiles weights = WeightFiles.open(files, Golden.folder("mixtral_old_bf16"))) {
      assertThat(weights.tensors()).hasSizeGreaterThan(10);
      String name = "model.layers.1.block_sparse_moe.experts.4.w3.weight";
      Safetensors file = weights.tensors().get(name).file();
      float[] memory = read(parameters.tensor("model.layers.1.mlp.experts.up_proj").rows(4, 1));
      assertThat(memory).containsExactly(file.floats(name));
    }
  }

  @Test
  void partsOfSeveralMembersMakeOneCheckpoint() {
    String golden = Golden.folder("qwen3moe");
    ModelConfig config = Checkpoint.config(files, golden);
    List<Part> parts = new ArrayList<>(List.of(Part.withoutExperts()));
    for (int half = 0; half < 2; half++) {
      int[][] experts = new int[config.layers()][];
      for (int layer = 0; layer < experts.length; layer++) {
        int first = half;
        experts[layer] =
            java.util.stream.IntStream.range(0, 12).filter(e -> e % 2 == first).toArray();
      }
      parts.add(Part.experts(experts));
    }
    String out = folder.resolve("out").toString();
    List<SavedShard> shards = new ArrayList<>();
    for (int attempt = 0; attempt < 2; attempt++) {
      shards.clear();
      for (int rank = 0; rank < parts.size(); rank++) {
        try (Parameters part = Checkpoint.load(files, golden, backend, parts.get(rank))) {
          shards.add(
              Checkpoint.saveShard(
                  files, out, backend, part, rank, parts.size(), SaveOptions.defaults()));
        }
      }
    }
    assertThatThrownBy(() -> Checkpoint.config(files, out)).hasMessageContaining("config.json");
    assertThatThrownBy(
            () ->
                Checkpoint.finish(files, out, config, shards.subList(0, 2), SaveOptions.defaults()))
        .hasMessageContaining("No shard has 54 tensors");
    assertThatThrownBy(
            () ->
                Checkpoint.finish(
                    files,
                    out,
                    config,
                    List.of(shards.get(0), shards.get(1), shards.get(1)),
                    SaveOptions.defaults()))
        .hasMessageContaining("which another shard has too");
    Checkpoint.finish(files, out, config, shards, SaveOptions.defaults());
    assertThat(Checkpoint.digest(files, out)).isEqualTo(Checkpoint.digest(files, golden));
    assertThatThrownBy(() -> Checkpoint.finish(files, out, config, shards, SaveOptions.defaults()))
        .hasMessageContaining("holds a finished checkpoint");
  }

  @Test
  void theDigestSeesEveryWeight() throws IOException {
    Path copy = copy("qwen2");
    String before = Checkpoint.digest(files, copy.toString());
    Path weights = copy.resolve("model.safetensors");
    byte[] bytes = Files.readAllBytes(weights);
    bytes[bytes.length - 1] ^= 1;
    Files.write(weights, bytes);
    assertThat(Checkpoint.digest(files, copy.toString())).isNotEqualTo(before);
  }

  @Test
  void namesMissingUnexpectedAndWrongTensors() throws IOException {
    Path copy = copy("qwen2");
    rewrite(copy, "\"hidden_size\": 96", "\"hidden_size\": 96");
    assertThat(Checkpoint.digest(files, copy.toString())).isNotEmpty();
    rewrite(copy, "\"intermediate_size\": 256", "\"intermediate_size\": 128");
    assertThatThrownBy(() -> load(copy))
        .hasMessageContaining(
            "model.layers.0.mlp.gate_proj.weight is F32[256, 96] instead of [128, 96]");
    Path deeper = copy("qwen2");
    rewrite(deeper, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    rewrite(deeper, "\"full_attention\",", "\"full_attention\", \"full_attention\",");
    assertThatThrownBy(() -> load(deeper))
        .hasMessageContaining("Missing: model.layers.2.input_layernorm.weight")
        .hasMessageContaining("and 2 more");
    Path untied = copy("llama31");
    rewrite(untied, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2");
    assertThatThrownBy(() -> load(untied))
        .hasMessageContaining("Unexpected: model.layers.2.input_layernorm.weight");
  }

  @Test
  void anIndexMayNotLeadOutOfTheFolder() throws IOException {
    Path copy = copy("mixtral_old_bf16");
    Path index = copy.resolve("model.safetensors.index.json");
    String text = Files.readString(index);
    for (String name : List.of("../x.safetensors", "/etc/passwd", "a/b", "..", ".hidden", "")) {
      Files.writeString(index, text.replace("model-00002-of-00004.safetensors", name));
      assertThatThrownBy(() -> load(copy))
          .hasMessageContaining("'" + name + "'; expected the name of a file in the same folder");
    }
    Files.writeString(index, text.replace("model-00002-of-", "model-00001-of-"));
    assertThatThrownBy(() -> load(copy)).hasMessageContaining("names tensors that no file has");
    Files.delete(index);
    assertThatThrownBy(() -> load(copy)).hasMessageContaining("has neither model.safetensors nor");
  }

  private void load(Path copy) {
    Checkpoint.load(files, copy.toString(), backend, Part.all()).close();
  }

  private void rewrite(Path copy, String from, String to) throws IOException {
    Path config = copy.resolve("config.json");
    String text = Files.readString(config);
    assertThat(text).contains(from);
    Files.writeString(config, text.replaceFirst(from, to));
  }

  private Path copy(String name) throws IOException {
    Path target = Files.createTempDirectory(folder, name);
    try (Stream<Path> sources = Files.list(Path.of(Golden.folder(name)))) {
      for (Path source : sources.toList()) {
        Files.copy(source, target.resolve(source.getFileName()));
      }
    }
    return target;
  }

  private float[] read(Tensor tensor) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    backend.read(bytes, tensor);
    float[] values = new float[(int) tensor.shape().elements()];
    bytes.flip().asFloatBuffer().get(values);
    return values;
  }
}

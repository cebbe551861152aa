package org.mixedgpu.hetermoe.train.verify;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.SingleProcessTrainer;
import org.mixedgpu.hetermoe.train.TrainerConfig;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.checkpoint.ModelConfigs;
import org.mixedgpu.nn.checkpoint.SaveOptions;
import org.mixedgpu.nn.safetensors.SafetensorsWriter;
import org.mixedgpu.nn.safetensors.SafetensorsWriter.Announced;
import org.mixedgpu.nn.safetensors.StoredType;
import org.mixedgpu.nn.tokenizer.ByteTokenizer;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * A model of every golden config, initialized and trained for some steps here, opened by Hugging
 * Face transformers: same logits, same tokens. The other direction is every golden test. Needs a
 * Python with torch and transformers:
 *
 * <pre>
 * ./mvnw -pl spark-hetermoe test -Dtest=TransformersRoundTripTest \
 *     -Dtest.groups=bench -Dtest.excludedGroups= -Dpython.torch=/path/to/python
 * </pre>
 */
@Tag("bench")
class TransformersRoundTripTest {
  private static final String TEXT = "Zürich, 東京\n\tsome (text) 🙂 1234";
  private static final int SEQUENCE = 48;
  private static final int STEPS = 5;

  private final FileStore files = HadoopFileStore.ofDefaults();
  @TempDir Path root;

  @Test
  void transformersOpensWhatWasTrainedHere() throws Exception {
    String python = System.getProperty("python.torch");
    assertThat(python).as("-Dpython.torch, a Python with torch and transformers").isNotNull();
    List<String> command = new ArrayList<>();
    command.add(python);
    command.add(Path.of("src/test/python/check_roundtrip.py").toAbsolutePath().toString());
    try (TrainingBackend backend = Backends.cpu(CpuOptions.allCores())) {
      for (String name : Golden.cases()) {
        Path folder = root.resolve(name);
        write(backend, name, folder.toString());
        command.add(folder.toString());
      }
    }
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(root.resolve("log").toFile())
            .start();
    int exit = process.waitFor();
    String log = Files.readString(root.resolve("log"));
    Files.writeString(Path.of("target", "roundtrip.txt"), log);
    assertThat(exit).as("%s", log).isZero();
    assertThat(log.lines().filter(line -> line.startsWith("ok "))).hasSize(Golden.cases().size());
  }

  private void write(TrainingBackend backend, String name, String folder) throws IOException {
    ModelConfig config = Checkpoint.config(files, Golden.folder(name));
    // The byte tokenizer needs 259 ids.
    String json = ModelConfigs.toJson(config, StoredType.F32);
    String larger = json.replaceFirst("\"vocab_size\" : \\d+", "\"vocab_size\" : 320");
    config = ModelConfigs.parse(larger, "test");
    int[][] batch = new int[2][SEQUENCE];
    Random random = new Random(11);
    for (int[] row : batch) {
      java.util.Arrays.setAll(row, i -> random.nextInt(320));
    }
    try (Parameters parameters = Parameters.allocate(backend, config, Part.all())) {
      parameters.initialize(5);
      train(backend, parameters, batch);
      // Small shards in every second case, so that both kinds of folder are opened.
      long shard = name.length() % 2 == 0 ? 100_000 : 1L << 30;
      Checkpoint.save(files, folder, backend, parameters, new SaveOptions(StoredType.F32, shard));
      record(backend, parameters, batch, folder);
    }
    try (ByteTokenizer tokenizer = new ByteTokenizer()) {
      tokenizer.save(files, folder);
    }
    Files.writeString(Path.of(folder, "text.txt"), TEXT, StandardCharsets.UTF_8);
  }

  private static void train(TrainingBackend backend, Parameters parameters, int[][] batch) {
    TrainerConfig settings =
        new TrainerConfig(
            2,
            SEQUENCE,
            1,
            OptimizerConfig.standard(LearningRate.constant(0.01)),
            AuxLoss.Kind.HUGGING_FACE);
    try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, settings)) {
      double first = trainer.step(batch).loss();
      double last = first;
      for (int step = 1; step < STEPS; step++) {
        last = trainer.step(batch).loss();
      }
      assertThat(last).isLessThan(first);
    }
  }

  private void record(
      TrainingBackend backend, Parameters parameters, int[][] batch, String folder) {
    ModelConfig config = parameters.config();
    int[] text = new ByteTokenizer().encode(TEXT);
    List<Announced> tensors =
        List.of(
            new Announced("input_ids", StoredType.I32, Shape.of(batch.length, SEQUENCE)),
            new Announced(
                "logits", StoredType.F32, Shape.of(batch.length, SEQUENCE, config.vocab())),
            new Announced("text_ids", StoredType.I32, Shape.of(text.length)));
    String path = FileStore.in(folder, "java.safetensors");
    try (SafetensorsWriter out = SafetensorsWriter.create(files, path, tensors, Map.of());
        DecoderModel model = DecoderModel.open(backend, config, parameters, SEQUENCE);
        KvCache cache = model.cache(SEQUENCE);
        Tensor hidden = backend.allocate(DType.F32, Shape.of(SEQUENCE, config.hidden()));
        Tensor logits = backend.allocate(DType.F32, Shape.of(SEQUENCE, config.vocab()))) {
      for (int[] row : batch) {
        out.writeBytes(ints(row));
      }
      for (int[] row : batch) {
        model.prefill(row, 0, SEQUENCE, cache, hidden);
        model.logits(logits, hidden);
        ByteBuffer bytes = ByteBuffer.allocateDirect((int) logits.bytes());
        backend.read(bytes, logits);
        out.writeBytes(bytes.flip());
      }
      out.writeBytes(ints(text));
      assertThat(out.publish()).isTrue();
    }
  }

  private static ByteBuffer ints(int[] values) {
    ByteBuffer bytes =
        ByteBuffer.allocate(values.length * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asIntBuffer().put(values);
    return bytes;
  }
}

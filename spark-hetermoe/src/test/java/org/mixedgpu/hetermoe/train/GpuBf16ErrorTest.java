package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.TorchGpu;
import org.mixedgpu.io.MemoryFileStore;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.GoldenFiles;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.safetensors.Safetensors;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * How far BF16 is from FP64, ours and PyTorch's on the same GPU: RMS errors of the logits and of
 * all gradients of the golden models. Ours may be twice as large. Needs a GPU and a Python with
 * PyTorch and transformers:
 *
 * <pre>
 * ./mvnw -pl spark-hetermoe test -Dtest=GpuBf16ErrorTest -Dtest.groups=gpu -Dtest.excludedGroups= \
 *     -Dpython.torch=python3
 * </pre>
 */
@Tag("gpu")
class GpuBf16ErrorTest {
  private static final double MOST = 2;

  private static TrainingBackend backend;
  private static TorchGpu python;
  @TempDir private static Path folder;

  @BeforeAll
  static void open() {
    String path = System.getProperty("python.torch");
    assertThat(path).as("-Dpython.torch, a Python with torch and transformers").isNotNull();
    python = new TorchGpu(path);
    backend = TestDevice.open(DType.BF16);
  }

  @AfterAll
  static void close() {
    if (python != null) {
      python.close();
    }
    if (backend != null) {
      backend.close();
    }
  }

  @ParameterizedTest
  @MethodSource("org.mixedgpu.nn.Golden#cases")
  void errorsAreLikePyTorchs(String name) throws IOException {
    Path exact = folder.resolve(name + ".safetensors");
    JsonNode theirs = python.ask("errors " + Golden.folder(name) + " " + exact);
    MemoryFileStore files = GoldenFiles.of(name);
    files.files.put("/exact.safetensors", Files.readAllBytes(exact));
    try (Safetensors golden = Safetensors.open(files, "/" + name + "/golden.safetensors");
        Safetensors reference = Safetensors.open(files, "/exact.safetensors");
        Parameters parameters =
            Checkpoint.loadForTraining(files, "/" + name, backend, Part.all())) {
      long[] dims = golden.entry("input_ids").shape().toArray();
      int[] flat = golden.ints("input_ids");
      int[][] ids = new int[(int) dims[0]][(int) dims[1]];
      for (int i = 0; i < flat.length; i++) {
        ids[i / ids[0].length][i % ids[0].length] = flat[i];
      }
      double logits = logitsError(parameters, ids, reference);
      double gradients = gradientsError(parameters, ids, reference);
      double theirLogits = theirs.get("logits").asDouble();
      double theirGradients = theirs.get("gradients").asDouble();
      System.out.printf(
          "%s: RMS error of logits %.3e, PyTorch %.3e, ratio %.2f; of gradients %.3e, PyTorch"
              + " %.3e, ratio %.2f%n",
          name,
          logits,
          theirLogits,
          logits / theirLogits,
          gradients,
          theirGradients,
          gradients / theirGradients);
      assertThat(logits).as("logits").isPositive().isLessThan(MOST * theirLogits);
      assertThat(gradients).as("gradients").isPositive().isLessThan(MOST * theirGradients);
    }
  }

  private static double logitsError(Parameters parameters, int[][] ids, Safetensors reference) {
    ModelConfig config = parameters.config();
    int length = ids[0].length;
    float[] exact = reference.floats("logits");
    double squares = 0;
    try (DecoderModel model = DecoderModel.open(backend, config, parameters, length);
        KvCache cache = model.cache(length);
        Tensor hidden = backend.allocate(backend.computeType(), Shape.of(length, config.hidden()));
        Tensor logits = backend.allocate(DType.F32, Shape.of(length, config.vocab()))) {
      for (int i = 0; i < ids.length; i++) {
        model.prefill(ids[i], 0, length, cache, hidden);
        model.logits(logits, hidden);
        squares += squares(Floats.read(backend, logits), exact, i * length * config.vocab());
      }
    }
    return Math.sqrt(squares / exact.length);
  }

  private static double gradientsError(Parameters parameters, int[][] ids, Safetensors reference) {
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(1e-6));
    TrainerConfig settings =
        new TrainerConfig(ids.length, ids[0].length, 1, adamW, AuxLoss.Kind.NONE);
    double squares = 0;
    try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, settings)) {
      trainer.step(ids);
      for (Parameters.Entry entry : trainer.gradients().entries()) {
        float[] ours = Floats.read(backend, entry.tensor());
        squares += squares(ours, reference.floats(entry.name()), 0);
      }
    }
    assertThat(reference.entries()).hasSize(parameters.size() + 1);
    return Math.sqrt(squares / parameters.elements());
  }

  private static double squares(float[] ours, float[] exact, int from) {
    double sum = 0;
    for (int i = 0; i < ours.length; i++) {
      double difference = (double) ours[i] - exact[from + i];
      sum += difference * difference;
    }
    return sum;
  }
}

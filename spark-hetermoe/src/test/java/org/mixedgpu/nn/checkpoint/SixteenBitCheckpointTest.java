package org.mixedgpu.nn.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.safetensors.StoredType;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/** Model folders and backends that compute in BF16 or F16. */
class SixteenBitCheckpointTest {
  private static final long PIECE = 4 << 20;

  private final FileStore files = HadoopFileStore.ofDefaults();
  @TempDir Path folder;

  @ParameterizedTest
  @EnumSource(names = {"BF16", "F16"})
  void mastersComeAndGoWithoutLoss(DType type) {
    String golden = Golden.folder("qwen2moe");
    String copy = folder.resolve("copy").toString();
    try (Backend backend = new RoundingBackend(type);
        Parameters p = Checkpoint.loadForTraining(files, golden, backend, Part.all())) {
      Checkpoint.save(files, copy, backend, p, SaveOptions.defaults());
      assertWorkingCopies(backend, p, p);
    }
    assertThat(Checkpoint.digest(files, copy)).isEqualTo(Checkpoint.digest(files, golden));
  }

  /** What was trained here is loaded as what the layers of the training used. */
  @ParameterizedTest
  @EnumSource(names = {"BF16", "F16"})
  void inferenceHasTheWorkingCopiesOfTraining(DType type) {
    String saved = folder.resolve("saved").toString();
    try (Backend backend = new RoundingBackend(type);
        Parameters trained =
            Parameters.allocate(
                backend, Checkpoint.config(files, Golden.folder("mixtral")), Part.all())) {
      trained.initialize(3);
      Checkpoint.save(files, saved, backend, trained, SaveOptions.defaults());
      try (Parameters loaded = Checkpoint.load(files, saved, backend, Part.all())) {
        assertWorkingCopies(backend, loaded, trained);
      }
    }
  }

  @Test
  void weightsOfTheComputeTypeAreNotConverted() {
    String golden = Golden.folder("mixtral_old_bf16");
    String copy = folder.resolve("copy").toString();
    try (Backend backend = new RoundingBackend(DType.BF16);
        Parameters p = Checkpoint.load(files, golden, backend, Part.all())) {
      // Nothing but the weights was ever allocated.
      assertThat(backend.memoryUse().peakBytes()).isEqualTo(2 * p.elements() + 2 * gains(p));
      SaveOptions options = new SaveOptions(StoredType.BF16, 1 << 20);
      Checkpoint.save(files, copy, backend, p, options);
    }
    assertThat(Checkpoint.digest(files, copy)).isEqualTo(Checkpoint.digest(files, golden));
  }

  @Test
  void othersAreConvertedPieceByPiece() {
    String golden = Golden.folder("mixtral_old_bf16");
    try (Backend backend = new RoundingBackend(DType.F16);
        Parameters p = Checkpoint.load(files, golden, backend, Part.all());
        Parameters exact = Checkpoint.loadForTraining(files, golden, backend, Part.all())) {
      assertWorkingCopies(backend, p, exact);
      long weights = 2 * p.elements() + 6 * exact.elements();
      assertThat(backend.memoryUse().bytes()).isEqualTo(weights);
      assertThat(backend.memoryUse().peakBytes()).isLessThanOrEqualTo(weights + PIECE);
    }
  }

  @Test
  void aWeightThatF16CanNotHoldIsNamed() {
    String large = folder.resolve("large").toString();
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Parameters p = Checkpoint.load(files, Golden.folder("qwen2"), backend, Part.all())) {
      backend.fill(p.tensor("model.embed_tokens.weight").rows(5, 1), -70_000f);
      Checkpoint.save(files, large, backend, p, SaveOptions.defaults());
    }
    try (Backend f16 = new RoundingBackend(DType.F16);
        Backend bf16 = new RoundingBackend(DType.BF16)) {
      assertThatThrownBy(() -> Checkpoint.load(files, large, f16, Part.all()))
          .hasMessageContainingAll("model.embed_tokens.weight", "-70000", "F16", "BF16 or F32");
      Checkpoint.load(files, large, bf16, Part.all()).close();
    }
  }

  @Test
  void weightsForInferenceHaveNoMasters() {
    try (Backend backend = new RoundingBackend(DType.BF16);
        Parameters p = Checkpoint.load(files, Golden.folder("qwen2"), backend, Part.all())) {
      assertThatThrownBy(() -> p.master("model.norm.weight"))
          .hasMessageContainingAll("model.norm.weight", "inference in BF16", "for training");
      assertThat(p.exact("model.norm.weight")).isSameAs(p.tensor("model.norm.weight"));
      assertThatThrownBy(() -> p.initialize(1)).hasMessageContaining("no F32 master");
    }
  }

  /** Elements of the gains of norms, which are F32. */
  private static long gains(Parameters p) {
    long elements = 0;
    for (Parameters.Entry entry : p.entries()) {
      elements += isGain(entry) ? entry.tensor().shape().elements() : 0;
    }
    assertThat(elements).isPositive();
    return elements;
  }

  private static boolean isGain(Parameters.Entry entry) {
    return entry.name().endsWith("norm.weight");
  }

  /** The working copies of one are the masters of the other, rounded but for the gains. */
  private static void assertWorkingCopies(Backend backend, Parameters working, Parameters masters) {
    for (Parameters.Entry entry : masters.entries()) {
      Tensor found = working.tensor(entry.name());
      DType type = isGain(entry) ? DType.F32 : backend.computeType();
      assertThat(found.type()).isEqualTo(type);
      try (Tensor rounded = backend.allocate(type, found.shape())) {
        backend.copy(rounded, entry.master());
        assertThat(Floats.read(backend, found))
            .as(entry.name())
            .isEqualTo(Floats.read(backend, rounded));
      }
    }
  }
}

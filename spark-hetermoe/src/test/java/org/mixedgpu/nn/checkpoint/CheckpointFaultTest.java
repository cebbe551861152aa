package org.mixedgpu.nn.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.io.MemoryFileStore;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.safetensors.StoredType;

/** A writer that dies anywhere leaves a checkpoint that is whole, or none. */
class CheckpointFaultTest {
  private static final String FOLDER = "/model";
  private static final String CONFIG = "/model/config.json";
  private static final SaveOptions SHARDS = new SaveOptions(StoredType.F32, 40_000);

  private final MemoryFileStore files = new MemoryFileStore();
  private final TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  private Parameters parameters;
  private String digest;

  @BeforeEach
  void load() {
    String golden = Golden.folder("qwen3");
    parameters = Checkpoint.load(HadoopFileStore.ofDefaults(), golden, backend, Part.all());
    digest = Checkpoint.digest(HadoopFileStore.ofDefaults(), golden);
  }

  @AfterEach
  void nothingIsLeftOpen() {
    parameters.close();
    backend.close();
  }

  private void save() {
    Checkpoint.save(files, FOLDER, backend, parameters, SHARDS);
  }

  private int operations() {
    files.failAt(Integer.MAX_VALUE, Fault.MISSING);
    save();
    int operations = files.operations();
    files.files.clear();
    return operations;
  }

  @Test
  void aFailureAnywhereLeavesNoCheckpointAndTheNextTrySucceeds() {
    int operations = operations();
    assertThat(operations).isGreaterThan(20);
    for (int n = 0; n < operations; n++) {
      files.failAt(n, Fault.EXHAUSTED);
      assertThatThrownBy(this::save).hasMessageStartingWith("injected: ");
      assertThat(files.fired).isEqualTo(1);
      assertThat(files.files).doesNotContainKey(CONFIG);
      if (n % 5 == 0) {
        // Over what is left, in the same folder.
        files.failAt(Integer.MAX_VALUE, Fault.MISSING);
        save();
        assertThat(Checkpoint.digest(files, FOLDER)).isEqualTo(digest);
        files.files.clear();
      }
    }
  }

  @Test
  void anUnknownOutcomeLeavesNothingHalf() {
    int operations = operations();
    int published = 0;
    for (int n = 0; n < operations; n++) {
      files.files.clear();
      files.failAfter(n, Fault.UNKNOWN_OUTCOME);
      assertThatThrownBy(this::save).hasMessageStartingWith("injected: ");
      assertThat(files.fired).isEqualTo(1);
      if (files.files.containsKey(CONFIG)) {
        published++;
        assertThat(Checkpoint.digest(files, FOLDER)).isEqualTo(digest);
      }
    }
    assertThat(published).isEqualTo(1);
  }

  @Test
  void everyReadThatFailsIsReported() {
    save();
    files.failAt(Integer.MAX_VALUE, Fault.MISSING);
    Checkpoint.load(files, FOLDER, backend, Part.all()).close();
    int operations = files.operations();
    for (int n = 0; n < operations; n++) {
      files.failAt(n, Fault.MISSING);
      assertThatThrownBy(() -> Checkpoint.load(files, FOLDER, backend, Part.all()))
          .hasMessageStartingWith("injected: ");
      assertThat(files.fired).isEqualTo(1);
    }
    // Nothing but the model of this test is still in memory.
    assertThat(backend.memoryUse().tensors()).isEqualTo(parameters.size());
  }
}

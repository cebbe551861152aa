package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.channels.FileLockInterruptionException;
import java.nio.file.Files;
import java.nio.file.Path;
import jcuda.driver.CUresult;
import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/** What a machine without a GPU, or without that GPU, is told. */
class CudaDriverTest {
  @TempDir Path folder;

  private static AbstractThrowableAssert<?, ?> isMissing(Runnable work) {
    return assertThatThrownBy(work::run)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING));
  }

  @Test
  void aMissingDriverIsNamedAndNothingElseIsOpened() {
    isMissing(() -> CudaDriver.require("libcuda-of-nobody.so.1"))
        .hasMessageContainingAll("libcuda-of-nobody.so.1", "LD_LIBRARY_PATH", "backend cpu")
        .hasNoCause();
  }

  /** Without a driver the first GPU is missing, with one the 999th is: never a CPU instead. */
  @Test
  void aGpuThatIsNotThereIsMissing() {
    Path cache = folder.resolve("cache");
    CudaOptions options = new CudaOptions("999", null, Long.MAX_VALUE, cache);
    String named = driverIsThere() ? "no GPU 999" : "libcuda.so.1";
    isMissing(() -> Backends.cuda(options)).hasMessageContainingAll(named, "backend cpu");
    if (!driverIsThere()) {
      assertThat(Files.exists(cache)).isFalse();
    }
  }

  private static boolean driverIsThere() {
    try {
      CudaDriver.require(CudaDriver.LIBRARY);
      return true;
    } catch (MixedGpuException e) {
      return false;
    }
  }

  @Test
  void aFolderThatCannotBeLockedIsNamedAndWhatToDo() {
    Path nowhere = folder.resolve("nowhere");
    isMissing(() -> CudaDriver.loadJCuda(nowhere))
        .hasMessageContainingAll(nowhere.toString(), "-Djava.io.tmpdir");
  }

  @Test
  void anInterruptIsNoMissingFolder() {
    Thread.currentThread().interrupt();
    isMissing(() -> CudaDriver.loadJCuda(folder))
        .hasMessage("Interrupted while loading JCuda")
        .hasCauseInstanceOf(FileLockInterruptionException.class);
    assertThat(Thread.interrupted()).isTrue();
  }

  @Test
  void aHiddenGpuIsToldWhatToDo() {
    assertThat(CudaDriver.next(CUresult.CUDA_ERROR_INVALID_DEVICE))
        .contains("CUDA_VISIBLE_DEVICES", "nvidia-smi", "backend cpu");
  }

  @Test
  void optionsAreChecked() {
    assertThatThrownBy(() -> new CudaOptions("gpu0", null, 1, null))
        .hasMessageContainingAll("gpu0", "00000000:19:00.0");
    assertThatThrownBy(() -> new CudaOptions("0", DType.I32, 1, null)).hasMessageContaining("I32");
    assertThatThrownBy(() -> new CudaOptions("0", null, -1, null)).hasMessageContaining("-1");
    assertThat(new CudaOptions("00000000:19:00.0", DType.BF16, 0, null).device())
        .isEqualTo("00000000:19:00.0");
  }
}

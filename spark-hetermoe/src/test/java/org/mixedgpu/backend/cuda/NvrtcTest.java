package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.jna.NativeLibrary;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

class NvrtcTest {
  @ParameterizedTest
  @ValueSource(ints = {70, 75, 80, 86, 89, 90, 100, 120})
  void cardsThatItCompilesForAreTaken(int arch) {
    NvrtcWheel.CUDA_12.open().require(arch, "GPU 0");
  }

  @Test
  void aCardThatIsTooNewForItIsToldWhatToInstall() {
    Nvrtc nvrtc = NvrtcWheel.CUDA_12.open();
    assertThatThrownBy(() -> nvrtc.require(999, "GPU 0 (X9000)"))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
        .hasMessageContainingAll(
            "GPU 0 (X9000)",
            "sm_999",
            "NVRTC " + nvrtc.version(),
            "libnvrtc.so",
            "90",
            "newer CUDA toolkit",
            "MIXEDGPU_CUDA_PATH",
            "-Dmixedgpu.cuda.path");
  }

  /** All kernels may be in the cache: then nothing is compiled, and it is not needed. */
  @ParameterizedTest
  @EnumSource
  void aLibraryBesideItThatCannotBeOpenedIsNoFailureYet(NvrtcWheel wheel, @TempDir Path folder)
      throws IOException {
    Nvrtc whole = wheel.open();
    Path file = wheel.file();
    Path link = Files.createSymbolicLink(folder.resolve(file.getFileName()), file);
    Files.writeString(folder.resolve("libnvrtc-builtins.so." + whole.version()), "not a library");
    Nvrtc nvrtc = new Nvrtc(NativeLibrary.getInstance(link.toString()));
    assertThat(nvrtc.version()).isEqualTo(whole.version());
    nvrtc.require(90, "GPU 0");
  }

  /** Of the wheel, which is not where the loader looks. */
  @ParameterizedTest
  @EnumSource
  void itFindsTheLibraryThatItNeedsBesideItself(NvrtcWheel wheel) {
    byte[] code = wheel.open().compile(KernelSource.of("elementwise", 90, DType.BF16, List.of()));
    assertThat(code).hasSizeGreaterThan(1000);
  }
}

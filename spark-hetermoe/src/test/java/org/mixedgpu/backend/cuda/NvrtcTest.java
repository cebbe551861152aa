package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
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

  /** Of the wheel, which is not where the loader looks. */
  @ParameterizedTest
  @EnumSource
  void itFindsTheLibraryThatItNeedsBesideItself(NvrtcWheel wheel) {
    byte[] code = wheel.open().compile(KernelSource.of("elementwise", 90, DType.BF16, List.of()));
    assertThat(code).hasSizeGreaterThan(1000);
  }
}

package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.mixedgpu.tensor.DType;

class KernelSourceTest {
  @Test
  void thePreludeComesFirstAndOptionsSayTypeAndGeneration() {
    KernelSource source = KernelSource.of("elementwise", 86, DType.F16, List.of("UNROLL=4"));
    assertThat(source.text()).startsWith("// What all kernels share.");
    assertThat(source.text()).contains("#line 1 \"elementwise.cu\"\n");
    assertThat(source.options())
        .containsExactly(
            "--gpu-architecture=sm_86", "--std=c++17", "-DARCH=86", "-DT_F16", "-DUNROLL=4");
  }

  @Test
  void includedFilesStandInTheirPlace() {
    String text = KernelSource.of("grouped_gemm", 70, DType.F32, List.of()).text();
    assertThat(text).doesNotContain("#include").contains("#line 1 \"grouped_tiles.cuh\"\n");
    assertThat(text.indexOf("struct Tile")).isPositive();
  }

  @Test
  void variantsFromHopperOnAreForOneCapability() {
    assertThat(KernelSource.lowestArch("attention")).isEqualTo(70);
    assertThat(KernelSource.lowestArch("attention.sm70")).isEqualTo(70);
    assertThat(KernelSource.lowestArch("attention.sm90")).isEqualTo(90);
    assertThat(KernelSource.of("grouped_gemm.sm90", 90, DType.BF16, List.of()).options())
        .contains("--gpu-architecture=sm_90a", "-DARCH=90");
    assertThat(KernelSource.of("attention.sm70", 100, DType.BF16, List.of()).options())
        .contains("--gpu-architecture=sm_100", "-DARCH=100");
    assertThatThrownBy(() -> KernelSource.of("attention.sm90", 100, DType.BF16, List.of()))
        .hasMessageContainingAll("attention.sm90", "10.0");
    assertThatThrownBy(() -> KernelSource.of("attention.sm90", 80, DType.BF16, List.of()))
        .hasMessageContainingAll("attention.sm90", "8.0");
  }

  @Test
  void aPortableSourceIsForLaterCardsToo() {
    KernelSource source = KernelSource.of("elementwise", 75, DType.F16, List.of());
    assertThat(source.isPortable()).isFalse();
    KernelSource portable = source.portable(50);
    assertThat(portable.isPortable()).isTrue();
    assertThat(portable.options())
        .contains("--gpu-architecture=compute_75", "-DARCH=75")
        .hasSameSizeAs(source.options());
  }

  @Test
  void whatTheCompilerIsTooNewForKeepsItsInstructions() {
    KernelSource volta = KernelSource.of("attention.sm70", 70, DType.F16, List.of());
    assertThat(volta.portable(70).options()).contains("--gpu-architecture=compute_70", "-DARCH=70");
    assertThat(volta.portable(75).options()).contains("--gpu-architecture=compute_75", "-DARCH=70");
    KernelSource hopper = KernelSource.of("attention.sm90", 90, DType.F16, List.of());
    assertThat(hopper.portable(75).options()).contains("--gpu-architecture=compute_90a");
  }

  @Test
  void anUnknownFileOrTypeIsABug() {
    assertThatThrownBy(() -> KernelSource.of("nothing", 80, DType.F32, List.of()))
        .hasMessageContaining("nothing.cu");
    assertThatThrownBy(() -> KernelSource.of("elementwise", 80, DType.I32, List.of()))
        .hasMessageContaining("F32, BF16 or F16");
  }
}

package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

class CudaLibrariesTest {
  @TempDir Path folder;

  @Test
  void namedFoldersComeFirst() {
    List<Path> folders =
        CudaLibraries.folders(
            "/a:/b",
            Map.of("MIXEDGPU_CUDA_PATH", "/c", "CUDA_HOME", "/d", "CUDA_PATH", "", "PATH", "/e"));
    assertThat(folders)
        .containsSubsequence(
            Path.of("/a"), Path.of("/a/lib64"), Path.of("/b"), Path.of("/c"), Path.of("/d/lib64"))
        .doesNotContain(Path.of("/e"), Path.of(""));
  }

  @Test
  void aNamedFolderWinsAndElsewhereTheBestName() throws IOException {
    Path named = Files.writeString(folder.resolve("libx.so.12"), "");
    List<String> tried = new ArrayList<>();
    CudaLibraries libraries =
        new CudaLibraries(
            List.of(Path.of("/nowhere"), folder),
            name -> {
              tried.add(name);
              throw new UnsatisfiedLinkError("no " + name + "\nand a long list");
            });
    assertThatThrownBy(() -> libraries.open("X", List.of("libx.so.13", "libx.so.12")))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
        .hasMessageContainingAll(
            "X",
            "libx.so.13, libx.so.12",
            folder.toString(),
            "no " + named,
            "/usr/local/cuda/lib64",
            "MIXEDGPU_CUDA_PATH",
            "mixedgpu.cuda.path",
            "backend cpu")
        .hasMessageNotContaining("long list");
    assertThat(tried).containsExactly(named.toString(), "libx.so.13", "libx.so.12");
  }

  /** Neither the CUDA toolkit nor the backend cpu helps a member that lacks NCCL. */
  @Test
  void aMissingNcclIsNotToldToInstallTheToolkit() {
    CudaLibraries none =
        new CudaLibraries(
            List.of(folder),
            name -> {
              throw new UnsatisfiedLinkError("no " + name);
            });
    assertThatThrownBy(() -> Nccl.library(none))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
        .hasMessageContainingAll(
            folder.toString(),
            "no libnccl.so.2",
            "libnccl2",
            "nvidia-nccl-cu13",
            "nvidia-nccl-cu12",
            "MIXEDGPU_CUDA_PATH",
            "spark.hetermoe.exchange=network")
        .hasMessageNotContaining("toolkit")
        .hasMessageNotContaining("backend");
  }

  @Test
  void librariesAreNotNewerThanTheDriverNorTooNewForTheCard() {
    assertThat(CudaDriver.libraries("nvrtc", 13_000, 90))
        .containsExactly("libnvrtc.so.13", "libnvrtc.so.12");
    assertThat(CudaDriver.libraries("nvrtc", 12_080, 90)).containsExactly("libnvrtc.so.12");
    assertThat(CudaDriver.libraries("nvrtc", 13_000, 70)).containsExactly("libnvrtc.so.12");
    assertThat(CudaDriver.text(12_060)).isEqualTo("12.6");
  }
}

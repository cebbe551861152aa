package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/**
 * Every kernel compiles, to machine code, for every generation and type that it is for, with the
 * tiles that the launchers choose. Needs NVRTC but no GPU.
 */
class KernelsCompileTest {
  private static final int[] ARCHS = {70, 75, 80, 86, 89, 90, 100};
  private static final DType[] TYPES = {DType.F32, DType.BF16, DType.F16};
  private static final DType[] HALVES = {DType.BF16, DType.F16};

  /** The most shared memory of a block on each generation. */
  private static int sharedBytes(int arch) {
    switch (arch) {
      case 70:
        return 96 << 10;
      case 75:
        return 64 << 10;
      case 80:
        return 163 << 10;
      case 86:
      case 89:
        return 99 << 10;
      default:
        return 227 << 10;
    }
  }

  @Test
  void everyKernelForEveryGenerationAndType() throws IOException {
    Nvrtc nvrtc = NvrtcWheel.CUDA_12.open();
    Path folder = Files.createDirectories(Path.of("target", "kernels"));
    KernelCache cache = new KernelCache(folder, "NVRTC " + nvrtc.version());
    Set<KernelSource> sources = sources();
    assertThat(sources.stream().map(KernelSource::file).collect(Collectors.toSet()))
        .as("a kernel file that no case compiles")
        .containsExactlyInAnyOrderElementsOf(files());
    List<String> failed =
        sources.parallelStream()
            .map(source -> failure(cache, nvrtc, source))
            .filter(text -> text != null)
            .collect(Collectors.toList());
    assertThat(failed).isEmpty();
    assertThat(sources).hasSizeGreaterThan(ARCHS.length * TYPES.length * 10);
  }

  private static String failure(KernelCache cache, Nvrtc nvrtc, KernelSource source) {
    try {
      byte[] cubin = cache.get(source, () -> nvrtc.compile(source));
      return cubin.length > 0 ? null : source.file() + ": empty";
    } catch (MixedGpuException e) {
      return e.getMessage();
    }
  }

  private static Set<KernelSource> sources() throws IOException {
    Set<KernelSource> sources = new LinkedHashSet<>();
    for (int arch : ARCHS) {
      for (String file : files()) {
        if (!file.startsWith("attention") && !file.startsWith("grouped")) {
          for (DType type : TYPES) {
            sources.add(KernelSource.of(file, arch, type, List.of()));
          }
        }
      }
      streamedVariants(sources, arch);
      for (DType type : TYPES) {
        for (int head : new int[] {5, 64, 128, 256}) {
          sources.add(KernelSource.of("attention", arch, type, List.of("HEAD=" + head)));
        }
        groupedKernels(sources, arch, type);
      }
      tensorCoreAttention(sources, arch, DType.F16);
      if (arch >= 80) {
        tensorCoreAttention(sources, arch, DType.BF16);
      }
    }
    for (DType type : HALVES) {
      hopperAttention(sources, type);
    }
    return sources;
  }

  private static void streamedVariants(Set<KernelSource> sources, int arch) {
    for (int cached = 1; cached <= 16; cached *= 2) {
      sources.add(KernelSource.of("router", arch, DType.F32, List.of("CACHED=" + cached)));
    }
    for (int cluster = 1; cluster <= (arch >= 90 ? 8 : 1); cluster *= 2) {
      for (DType type : TYPES) {
        sources.add(KernelSource.of("loss", arch, type, List.of("CLUSTER=" + cluster)));
      }
    }
  }

  private static void groupedKernels(Set<KernelSource> sources, int arch, DType type) {
    for (GroupedTiles.Product product : GroupedTiles.Product.values()) {
      for (boolean aligned : new boolean[] {false, true}) {
        for (int n : new int[] {1_024, 3_072}) {
          for (int experts : new int[] {1, 100}) {
            GroupedTiles tiles =
                GroupedTiles.choose(
                    arch, sharedBytes(arch), type, aligned, product, 20_000, experts, n, 4_096 - n);
            sources.add(KernelSource.of(tiles.file(), arch, type, List.of(tiles.defines())));
          }
        }
      }
    }
  }

  /**
   * So that the kernels of a card of capability 7.0, which CUDA 12's compiler makes, can be tested
   * where there is a newer card and CUDA 13's.
   */
  @Test
  void voltasInstructionsAreLegalForTheNextGeneration() {
    Nvrtc nvrtc = NvrtcWheel.CUDA_12.open();
    Set<KernelSource> sources = new LinkedHashSet<>();
    groupedKernels(sources, 70, DType.F16);
    tensorCoreAttention(sources, 70, DType.F16);
    for (KernelSource source : sources) {
      String ptx = new String(nvrtc.compile(source.portable(75)), StandardCharsets.UTF_8);
      assertThat(ptx).as(source.file()).contains(".target sm_75");
      if (source.file().endsWith(".sm70")) {
        assertThat(ptx).as(source.file()).contains("mma.sync.aligned.m8n8k4");
        assertThat(ptx).as(source.file()).doesNotContain("ldmatrix", "cp.async", "m16n8");
      }
    }
  }

  private static void tensorCoreAttention(Set<KernelSource> sources, int arch, DType type) {
    for (AttentionPass pass : AttentionPass.values()) {
      for (int head : new int[] {16, 64, 80, 96, 128, 160, 256}) {
        AttentionTiles tiles = AttentionTiles.choose(pass, head, sharedBytes(arch));
        sources.add(
            KernelSource.of(
                TensorCoreAttention.FILE,
                arch,
                type,
                List.of(TensorCoreAttention.defines(pass, head, tiles))));
      }
    }
  }

  private static void hopperAttention(Set<KernelSource> sources, DType type) {
    for (int head : new int[] {64, 128}) {
      for (AttentionPass pass : AttentionPass.values()) {
        String file =
            pass == AttentionPass.FORWARD
                ? HopperAttention.FORWARD_FILE
                : HopperAttention.BACKWARD_FILE;
        HopperTiles tiles = HopperTiles.of(pass, head);
        sources.add(KernelSource.of(file, 90, type, List.of(tiles.defines(pass.name(), head))));
      }
    }
    String[] defines = HopperTiles.ONE_PASS.defines("BACKWARD", 128);
    sources.add(KernelSource.of(HopperAttention.ONE_PASS_FILE, 90, type, List.of(defines)));
  }

  /** Names of all kernel files. */
  private static Set<String> files() throws IOException {
    try (Stream<Path> list = Files.list(folder())) {
      return list.map(path -> path.getFileName().toString())
          .filter(name -> name.endsWith(".cu"))
          .map(name -> name.substring(0, name.length() - ".cu".length()))
          .collect(Collectors.toCollection(TreeSet::new));
    }
  }

  private static Path folder() {
    try {
      URI prelude =
          KernelsCompileTest.class.getResource("/org/mixedgpu/kernels/prelude.cuh").toURI();
      return Path.of(prelude).getParent();
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void anErrorCarriesTheLogFileAndLine() {
    Nvrtc nvrtc = NvrtcWheel.CUDA_12.open();
    KernelSource good = KernelSource.of("elementwise", 80, DType.BF16, List.of());
    KernelSource broken =
        new KernelSource(
            good.file(), good.text() + "\n#line 7 \"planted.cu\"\nnonsense", good.options());
    assertThatThrownBy(() -> nvrtc.compile(broken))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BUG))
        .hasMessageContainingAll(
            nvrtc.version(), "elementwise.cu", "sm_80", "planted.cu(7)", "nonsense");
  }

  @Test
  void theCompilerRefusesWhatItDoesNotKnow() {
    Nvrtc nvrtc = NvrtcWheel.CUDA_12.open();
    assertThat(nvrtc.lowestArch()).isBetween(36, 70);
    List<String> options =
        new ArrayList<>(KernelSource.of("elementwise", 80, DType.F32, List.of()).options());
    IntStream.range(0, options.size())
        .filter(i -> options.get(i).startsWith("--gpu-architecture"))
        .forEach(i -> options.set(i, "--gpu-architecture=sm_35"));
    assertThatThrownBy(() -> nvrtc.compile(new KernelSource("elementwise", "", options)))
        .hasMessageContaining("sm_35");
  }
}

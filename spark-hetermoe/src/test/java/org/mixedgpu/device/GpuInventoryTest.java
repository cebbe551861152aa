package org.mixedgpu.device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

class GpuInventoryTest {
  private static final GpuInventory.Gpu VOLTA =
      new GpuInventory.Gpu(1, "Tesla V100-SXM2-16GB", "volta", 16160, "00000000:3B:00.0");
  private static final Path SCRIPT = Path.of("..", "conf", "discover-gpus.sh").toAbsolutePath();

  private final GpuCatalogue catalogue = GpuCatalogue.builtIn();

  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "0, NVIDIA H100 80GB HBM3, 9.0, 81559, 00000000:00:05.0\n",
        "0, NVIDIA H200, 9.0, 143771, 00000000:00:05.0\n"
      })
  void hopperGpusAreOfThatGeneration(String recorded) {
    GpuInventory inventory = GpuInventory.parse(recorded, catalogue);
    assertThat(inventory.ofGeneration("hopper")).hasSize(1);
    assertThat(inventory.gpus()).extracting(g -> g.generationAddress()).containsExactly("hopper-0");
    assertThat(inventory.gpu(0).busId()).isEqualTo("00000000:00:05.0");
    String name = inventory.gpu(0).name();
    assertThat(catalogue.byNvidiaSmiName(name).generation()).isEqualTo("hopper");
  }

  @Test
  void readsWhatNvidiaSmiSays() {
    GpuInventory inventory =
        GpuInventory.parse(
            "0, NVIDIA H200, 9.0, 143771, 00000000:19:00.0\n"
                + "1, Tesla V100-SXM2-16GB, 7.0, 16160, 00000000:3B:00.0\n",
            catalogue);
    assertThat(inventory.ofGeneration("volta")).containsExactly(VOLTA);
    assertThat(inventory.gpus().get(0).generationAddress()).isEqualTo("hopper-0");
    assertThat(inventory.gpu(1)).isEqualTo(VOLTA);
    assertThatThrownBy(() -> inventory.gpu(2))
        .hasMessageContaining("no GPU 2")
        .hasMessageContaining("NVIDIA H200");
    assertThatThrownBy(() -> GpuInventory.parse("No devices were found", catalogue))
        .hasMessageContaining("No devices were found");
  }

  /** A card that nobody asks for must not keep others from their work. */
  @Test
  void aCardThatTheCatalogueLacksIsLeftOut() {
    String csv =
        "0, Tesla K80, 3.7, 11441, 00000000:05:00.0\n"
            + "1, Tesla V100-SXM2-16GB, 7.0, 16160, 00000000:3B:00.0\n";
    GpuInventory inventory = GpuInventory.parse(csv, catalogue);
    assertThat(inventory.gpus()).containsExactly(VOLTA);
    assertThat(inventory.unknown())
        .singleElement()
        .asString()
        .startsWith("GPU 0 (Tesla K80) is left out: ")
        .contains("compute capability 3.7", "spark.hetermoe.gpuCatalogue");
    assertThatThrownBy(() -> inventory.gpu(0)).hasMessageContaining("compute capability 3.7");
    assertThat(GpuInventory.busId(csv, 0)).isEqualTo("00000000:05:00.0");
    assertThat(GpuInventory.busId(csv, 1)).isEqualTo("00000000:3B:00.0");
    assertThatThrownBy(() -> GpuInventory.busId(csv, 2))
        .hasMessageContaining("no GPU 2")
        .hasMessageContaining("Tesla K80");
  }

  @Test
  @Timeout(20)
  void aDriverThatHangsIsGivenUp() {
    assertThatThrownBy(() -> GpuInventory.ask(List.of("sleep", "60"), 1))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
        .hasMessageContaining("within 1 s");
    assertThat(GpuInventory.ask(List.of("echo", "GPUs"), 10)).isEqualTo("GPUs\n");
    assertThatThrownBy(() -> GpuInventory.ask(List.of("ls", "/nowhere"), 10))
        .hasMessageContaining("/nowhere");
  }

  @Test
  void emulatesGenerations() {
    assertThat(GpuInventory.emulated("hopper:1, volta:2", catalogue).gpus())
        .extracting(GpuInventory.Gpu::generationAddress)
        .containsExactly("hopper-0", "volta-1", "volta-2");
    assertThatThrownBy(() -> GpuInventory.emulated("hopper", catalogue))
        .hasMessageContaining("write hopper:1,volta:2");
    assertThatThrownBy(() -> GpuInventory.emulated("kepler:1", catalogue))
        .hasMessageContaining("GPU generation 'kepler'");
  }

  @Test
  void theScriptAgreesWithTheCode() throws Exception {
    Path smi = folder.resolve("nvidia-smi");
    Files.writeString(smi, "#!/bin/sh\nprintf '0, 9.0\\n1, 7.0\\n2, 7.0\\n'\n");
    assertThat(smi.toFile().setExecutable(true)).isTrue();
    Path link = folder.resolve("discover-gpu-volta.sh");
    Files.createSymbolicLink(link, SCRIPT);
    assertThat(script("", SCRIPT.toString(), "hopper"))
        .isEqualTo("{\"name\": \"gpu-hopper\", \"addresses\": [\"0\"]}");
    assertThat(script("", link.toString()))
        .isEqualTo("{\"name\": \"gpu-volta\", \"addresses\": [\"1\",\"2\"]}");
    assertThat(script("", SCRIPT.toString(), "--one-name"))
        .isEqualTo("{\"name\": \"gpu\", \"addresses\": [\"hopper-0\",\"volta-1\",\"volta-2\"]}");
    Path anyGpu = Files.createSymbolicLink(folder.resolve("discover-gpu.sh"), SCRIPT);
    assertThat(script("", anyGpu.toString()))
        .isEqualTo(script("", SCRIPT.toString(), "--one-name"));
    assertThat(script("ada:1,turing:1", SCRIPT.toString(), "turing"))
        .isEqualTo("{\"name\": \"gpu-turing\", \"addresses\": [\"1\"]}");
    assertThat(script("", SCRIPT.toString(), "ada")).contains("no ada GPU here");
    assertThat(script("", SCRIPT.toString(), "kepler")).contains("unknown generation 'kepler'");
    assertThat(script("", SCRIPT.toString())).contains("say which generation");
    Files.writeString(smi, "#!/bin/sh\nprintf '0, 3.7\\n'\n");
    assertThat(script("", SCRIPT.toString(), "volta")).contains("does not know");
    Files.writeString(smi, "#!/bin/sh\nprintf '0, 3.7\\n1, 7.0\\n'\n");
    assertThat(script("", SCRIPT.toString(), "volta"))
        .contains("GPU 0 is left out")
        .endsWith("{\"name\": \"gpu-volta\", \"addresses\": [\"1\"]}");
  }

  private String script(String emulated, String... command) throws Exception {
    List<String> words = new ArrayList<>(Arrays.asList(command));
    words.add(0, "bash");
    ProcessBuilder builder = new ProcessBuilder(words).redirectErrorStream(true);
    builder.environment().put("PATH", folder + ":" + System.getenv("PATH"));
    builder.environment().put("HETERMOE_EMULATED_GPUS", emulated);
    Process process = builder.start();
    String out = read(process);
    process.waitFor();
    return out;
  }

  private static String read(Process process) throws IOException {
    return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
  }
}

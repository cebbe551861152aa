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
import org.junit.jupiter.api.io.TempDir;

class GpuInventoryTest {
  private static final Path SCRIPT = Path.of("..", "conf", "discover-gpus.sh").toAbsolutePath();

  private final GpuCatalogue catalogue = GpuCatalogue.builtIn();

  @TempDir Path folder;

  @Test
  void readsWhatNvidiaSmiSays() {
    GpuInventory inventory =
        GpuInventory.parse(
            "0, NVIDIA H200, 9.0, 143771\n1, Tesla V100-SXM2-16GB, 7.0, 16160\n", catalogue);
    assertThat(inventory.ofGeneration("volta"))
        .containsExactly(new GpuInventory.Gpu(1, "Tesla V100-SXM2-16GB", "volta", 16160));
    assertThat(inventory.gpus().get(0).generationAddress()).isEqualTo("hopper-0");
    assertThatThrownBy(() -> GpuInventory.parse("0, Tesla K80, 3.7, 11441", catalogue))
        .hasMessageContaining("compute capability 3.7");
    assertThatThrownBy(() -> GpuInventory.parse("No devices were found", catalogue))
        .hasMessageContaining("No devices were found");
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
    assertThat(script("ada:1,turing:1", SCRIPT.toString(), "turing"))
        .isEqualTo("{\"name\": \"gpu-turing\", \"addresses\": [\"1\"]}");
    assertThat(script("", SCRIPT.toString(), "ada")).contains("no ada GPU here");
    assertThat(script("", SCRIPT.toString(), "kepler")).contains("unknown generation 'kepler'");
    assertThat(script("", SCRIPT.toString())).contains("say which generation");
    Files.writeString(smi, "#!/bin/sh\nprintf '0, 3.7\\n'\n");
    assertThat(script("", SCRIPT.toString(), "volta")).contains("does not know");
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

package org.mixedgpu.device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class GpuCatalogueTest {
  private final GpuCatalogue catalogue = GpuCatalogue.builtIn();

  private static GpuCatalogue read(String json) {
    return GpuCatalogue.read(
        new ByteArrayInputStream(json.getBytes(StandardCharsets.UTF_8)), "test.json");
  }

  @Test
  void everyNumberNamesItsSourceAndEveryGenerationHasACard() {
    assertThat(catalogue.generations())
        .containsExactly("volta", "turing", "ampere", "ada", "hopper", "blackwell");
    for (String generation : catalogue.generations()) {
      assertThat(catalogue.cards()).anyMatch(c -> c.generation().equals(generation));
    }
    for (GpuSpec card : catalogue.cards()) {
      assertThat(card.memoryBytes().source()).contains("https://");
      assertThat(card.peakFlopsPerSecond()).containsKey("fp16");
      card.peakFlopsPerSecond().values().forEach(q -> assertThat(q.source()).contains("https://"));
    }
  }

  @Test
  void cardsAreFoundByTheNameOfNvidiaSmi() {
    GpuSpec card = catalogue.byNvidiaSmiName("Tesla V100-SXM2-32GB");
    assertThat(card.name()).isEqualTo("V100-SXM2");
    assertThat(card.memoryBytesPerSecond().value()).isEqualTo(900e9);
    assertThat(card.peakFlopsPerSecond()).doesNotContainKey("bf16");
    assertThat(catalogue.generation(ComputeCapability.parse("9.0"))).isEqualTo("hopper");
  }

  @Test
  void theUnknownIsAnErrorThatListsTheKnown() {
    assertThatThrownBy(() -> catalogue.byNvidiaSmiName("NVIDIA K80"))
        .hasMessageContaining("has no GPU 'NVIDIA K80'; it knows [Tesla V100")
        .hasMessageContaining("spark.hetermoe.gpuCatalogue");
    assertThatThrownBy(() -> catalogue.generation(ComputeCapability.parse("3.7")))
        .hasMessageContaining("compute capability 3.7");
    assertThatThrownBy(() -> catalogue.gap("hopper", "turing", 4096))
        .hasMessageContaining("gap between hopper and turing; it knows [ampere/volta, ada/turing]");
  }

  @Test
  void aGapIsMeasuredPerComponentAndNearestInSequenceLength() {
    GenerationGap near = catalogue.gap("ada", "turing", 2048);
    assertThat(near.attention().value()).isEqualTo(9.9);
    assertThat(near.sequence()).isEqualTo(4096);
    assertThat(catalogue.gap("ada", "turing", 100_000).attention().value()).isEqualTo(13.6);
    assertThat(near.experts().value()).isEqualTo(7.0);
    assertThat(catalogue.gap("ampere", "volta", 65536).experts().value()).isEqualTo(1.25);
  }

  @Test
  void theCatalogueInTheJarIsTheFileInConf() throws IOException {
    byte[] jar = GpuCatalogue.class.getResourceAsStream("gpus.json").readAllBytes();
    assertThat(jar).isEqualTo(Files.readAllBytes(Path.of("..", "conf", "gpus.json")));
  }

  @Test
  void damagedCataloguesAreRefusedWithThePlace() throws IOException {
    String good = Files.readString(Path.of("..", "conf", "gpus.json"));
    assertThat(read(good).cards()).hasSameSizeAs(catalogue.cards());
    assertThatThrownBy(() -> read("{")).hasMessageContaining("test.json is not JSON");
    assertThatThrownBy(() -> read("{\"format\": 9}")).hasMessageContaining("has format 9");
    assertThatThrownBy(() -> read(good.replace("\"memoryGib\"", "\"memoryGB\"")))
        .hasMessageContaining("'memoryGib' is missing");
    assertThatThrownBy(
            () ->
                read(
                    good.replace(
                        "\"value\": 7.0, \"source\": \"hetermoe\"",
                        "\"value\": 7.0, \"source\": \"nobody\"")))
        .hasMessageContaining("names source 'nobody'");
    assertThatThrownBy(
            () -> read(good.replace("\"generation\": \"turing\"", "\"generation\": \"volta\"")))
        .hasMessageContaining("compute capability 7.5 belongs to turing");
  }
}

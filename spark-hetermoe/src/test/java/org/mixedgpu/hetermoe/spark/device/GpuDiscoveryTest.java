package org.mixedgpu.hetermoe.spark.device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.apache.spark.SparkConf;
import org.apache.spark.resource.ResourceID;
import org.apache.spark.resource.ResourceInformation;
import org.apache.spark.resource.ResourceRequest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GpuDiscoveryTest {
  private static final SparkConf CONF =
      new SparkConf(false).set("spark.hetermoe.emulatedGpus", "hopper:1,volta:2");

  private static Optional<ResourceInformation> discover(String name, int amount) {
    return discover(name, amount, CONF);
  }

  private static Optional<ResourceInformation> discover(String name, int amount, SparkConf conf) {
    return new GpuDiscovery()
        .discoverResource(
            new ResourceRequest(
                new ResourceID("spark.worker", name), amount, Optional.empty(), Optional.empty()),
            conf);
  }

  @Test
  void findsGpusByGenerationOrUnderOneName() {
    assertThat(discover("gpu-volta", 2).orElseThrow().addresses()).containsExactly("1", "2");
    assertThat(discover("gpu", 3).orElseThrow().addresses())
        .containsExactly("hopper-0", "volta-1", "volta-2");
  }

  @Test
  void knowsTheGenerationsOfTheCatalogueThatIsSet(@TempDir Path folder) throws IOException {
    String own = Files.readString(Path.of("..", "conf", "gpus.json")).replace("volta", "kepler");
    Path file = Files.writeString(folder.resolve("own.json"), own);
    SparkConf conf =
        CONF.clone()
            .set("spark.hetermoe.gpuCatalogue", file.toString())
            .set("spark.hetermoe.emulatedGpus", "hopper:1,kepler:1");
    assertThat(discover("gpu-kepler", 1, conf).orElseThrow().addresses()).containsExactly("1");
    conf.set("spark.hetermoe.gpuCatalogue", folder.resolve("none.json").toString());
    assertThatThrownBy(() -> discover("gpu", 1, conf)).hasMessageContaining("none.json");
    conf.set("spark.hetermoe.gpuCatalogue", " ");
    assertThatThrownBy(() -> discover("gpu", 1, conf)).hasMessageContaining("'kepler'");
  }

  @Test
  void leavesOtherResourcesToOtherPlugins() {
    assertThat(discover("fpga", 1)).isEmpty();
  }

  @Test
  void saysWhatIsThereWhenItIsNotEnough() {
    assertThatThrownBy(() -> discover("gpu-hopper", 2))
        .hasMessageContaining("Resource gpu-hopper: 2 asked for, 1 found")
        .hasMessageContaining("volta");
    assertThatThrownBy(() -> discover("gpu-kepler", 1))
        .hasMessageContaining("GPU generation 'kepler'");
  }
}

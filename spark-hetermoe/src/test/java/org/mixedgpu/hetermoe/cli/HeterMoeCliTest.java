package org.mixedgpu.hetermoe.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.BackendChoice;
import org.mixedgpu.device.GpuInventory;
import org.mixedgpu.hetermoe.spark.TrainOption;
import org.mixedgpu.hetermoe.spark.TrainOptions;
import picocli.CommandLine;

class HeterMoeCliTest {
  private final StringWriter out = new StringWriter();
  private final StringWriter err = new StringWriter();

  @Test
  void helpOfTrainShowsEveryOptionWithUnitDefaultAndExample() {
    assertThat(run("train", "--help")).isZero();
    String help = out.toString().replaceAll("\\s+", " ");
    for (TrainOption<?> option : TrainOptions.ALL) {
      assertThat(help).contains(option.flag()).contains(option.help().replaceAll("\\s+", " "));
    }
    assertThat(help).contains("Unit: tokens.").contains("Default: 512.").contains("Example: 1024.");
  }

  @Test
  void everyCommandHasHelpAndVersion() {
    for (String command : new String[] {"train", "evaluate", "verify", "devices"}) {
      assertThat(run(command, "--help")).isZero();
      assertThat(run(command, "--version")).isZero();
    }
    assertThat(run("--help")).isZero();
    assertThat(run("--version")).isZero();
    assertThat(out.toString()).contains("Exit codes:", "hetermoe (from classes)");
  }

  @Test
  void aMistakeInTheCommandIsExitCode2() {
    assertThat(run("train")).isEqualTo(2);
    assertThat(run("train", "--input", "x", "--stepz", "3")).isEqualTo(2);
    assertThat(run("train", "--input", "x", "--steps", "0")).isEqualTo(2);
    assertThat(err.toString())
        .contains("--steps: steps: '0' is out of range; use a whole number of steps from 1");
    assertThat(run("devices", "--precision", "int8")).isEqualTo(2);
    assertThat(run("devices", "--precision", "bf16")).isEqualTo(2);
    assertThat(err.toString())
        .contains("Precision 'int8' is not known")
        .contains("precision is bf16 and the cpu backend computes in fp32");
    assertThat(run("nonsense")).isEqualTo(2);
  }

  @Test
  void devicesListsWhatItIsToldToPretendAndTheCatalogue() {
    assertThat(run("devices", "--emulate", "hopper:1,volta:2", "--all")).isZero();
    assertThat(out.toString())
        .contains("gpu-hopper 0: emulated", "gpu-volta 2: emulated", "V100-SXM2", "threads");
    assertThat(run("devices", "--emulate", "hoper:1")).isEqualTo(1);
    assertThat(err.toString()).contains("hoper");
    assertThat(run("devices", "--catalogue", "none.json")).isEqualTo(2);
  }

  @Test
  void devicesSaysOfEachGpuWhyItCannotBeUsed() {
    GpuInventory none = new GpuInventory(List.of(), List.of("GPU 0 is left out"));
    GpuInventory two =
        new GpuInventory(
            List.of(
                new GpuInventory.Gpu(998, "a card", "hopper", 1, "0000:ff:01.0"),
                new GpuInventory.Gpu(999, "a card", "hopper", 1, "0000:ff:02.0")),
            List.of());
    BackendChoice cuda = BackendChoice.of("cuda", "auto", 1, 0);
    PrintWriter to = new PrintWriter(out, true);
    assertThat(DevicesCommand.open(none, OptionalInt.empty(), cuda, to)).isFalse();
    assertThat(DevicesCommand.open(two, OptionalInt.empty(), cuda, to)).isFalse();
    assertThat(out.toString())
        .contains("998 can't be used: MISSING: ", "999 can't be used: MISSING: ");
    assertThat(DevicesCommand.open(two, OptionalInt.of(999), cuda, to)).isFalse();
    assertThatThrownBy(() -> DevicesCommand.open(two, OptionalInt.of(1), cuda, to))
        .hasMessageContaining("no GPU 1");
  }

  private int run(String... arguments) {
    CommandLine line = HeterMoeCli.commandLine();
    line.setOut(new PrintWriter(out, true));
    line.setErr(new PrintWriter(err, true));
    return line.execute(arguments);
  }
}

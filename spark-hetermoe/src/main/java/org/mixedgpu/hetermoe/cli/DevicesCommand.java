package org.mixedgpu.hetermoe.cli;

import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.OptionalInt;
import java.util.concurrent.Callable;
import org.mixedgpu.backend.BackendChoice;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.device.GpuCatalogue;
import org.mixedgpu.device.GpuInventory;
import org.mixedgpu.device.GpuSpec;
import org.mixedgpu.device.Quantity;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** What this machine can compute on, and which cards are known. */
@Command(
    name = "devices",
    mixinStandardHelpOptions = true,
    versionProvider = HeterMoeCli.Version.class,
    sortOptions = false,
    description = {
      "Lists what this machine computes on, and with --all the cards of the catalogue. With"
          + " --backend cuda every GPU is opened, so that drivers and libraries are tried too."
    },
    footer = {
      "",
      "Example:",
      "  hetermoe devices --emulate hopper:1,volta:2",
      "  hetermoe devices --backend cuda --precision fp32"
    })
final class DevicesCommand implements Callable<Integer> {
  private static final double GIB = 1L << 30;

  @Spec private CommandSpec spec;

  @Mixin private DeviceOptions device;

  @Option(
      names = "--emulate",
      paramLabel = "LIST",
      description =
          "Generations and counts to pretend instead of asking nvidia-smi. Example:"
              + " hopper:1,volta:2")
  private String emulate;

  @Option(
      names = "--catalogue",
      paramLabel = "FILE",
      description = "Catalogue instead of the built-in one. Example: conf/gpus.json")
  private Path file;

  @Option(names = "--all", description = "Also list every card of the catalogue.")
  private boolean all;

  @Override
  public Integer call() {
    PrintWriter out = spec.commandLine().getOut();
    GpuCatalogue catalogue = catalogue();
    BackendChoice choice = device.choice();
    if (choice.kind() == BackendKind.CPU) {
      out.println(name(choice, OptionalInt.empty()));
    }
    boolean usable = true;
    if (emulate == null) {
      try {
        GpuInventory found = GpuInventory.ofThisMachine(catalogue);
        print(found, out);
        if (choice.kind() == BackendKind.CUDA) {
          usable = open(found, device.gpu(), choice, out);
        }
      } catch (MixedGpuException e) {
        // A machine without GPUs is a fact, not a failure; anything else is one.
        if (e.fault() != Fault.MISSING || choice.kind() == BackendKind.CUDA) {
          throw e;
        }
        out.println("no GPU: " + e.getMessage());
      }
    } else {
      print(GpuInventory.emulated(emulate, catalogue), out);
    }
    if (all) {
      list(catalogue, out);
    }
    return usable ? CommandLine.ExitCode.OK : CommandLine.ExitCode.SOFTWARE;
  }

  /** Says of each GPU, or of the one that was asked for, what it is opened as or why not. */
  static boolean open(
      GpuInventory found, OptionalInt asked, BackendChoice choice, PrintWriter out) {
    List<GpuInventory.Gpu> gpus =
        asked.isPresent() ? List.of(found.gpu(asked.getAsInt())) : found.gpus();
    int usable = 0;
    for (GpuInventory.Gpu gpu : gpus) {
      try {
        out.println(gpu.index() + ": " + name(choice, OptionalInt.of(gpu.index())));
        usable++;
      } catch (MixedGpuException e) {
        out.println(gpu.index() + " can't be used: " + e.fault() + ": " + e.getMessage());
      }
    }
    return usable > 0 && usable == gpus.size();
  }

  /** Opens the device, so that a printed name is one that works. */
  private static String name(BackendChoice choice, OptionalInt gpu) {
    try (TrainingBackend backend = choice.open(gpu)) {
      return backend.name();
    }
  }

  private static void print(GpuInventory found, PrintWriter out) {
    for (GpuInventory.Gpu gpu : found.gpus()) {
      out.printf(
          Locale.ROOT,
          "gpu-%s %d: %s, %d MiB%n",
          gpu.generation(),
          gpu.index(),
          gpu.name(),
          gpu.memoryMib());
    }
    found.unknown().forEach(out::println);
  }

  private static void list(GpuCatalogue catalogue, PrintWriter out) {
    out.printf(
        Locale.ROOT,
        "%n%-22s %-12s %10s %12s %14s%n",
        "card",
        "generation",
        "GiB",
        "GB/s",
        "fp16 TFLOP/s");
    for (GpuSpec card : catalogue.cards()) {
      Quantity half = card.peakFlopsPerSecond().get("fp16");
      out.printf(
          Locale.ROOT,
          "%-22s %-12s %10.0f %12.0f %14s%n",
          card.name(),
          card.generation(),
          card.memoryBytes().value() / GIB,
          card.memoryBytesPerSecond().value() / 1e9,
          half == null ? "-" : String.format(Locale.ROOT, "%.0f", half.value() / 1e12));
    }
  }

  private GpuCatalogue catalogue() {
    if (file == null) {
      return GpuCatalogue.builtIn();
    }
    if (!Files.isRegularFile(file)) {
      throw new CommandLine.ParameterException(
          spec.commandLine(), "--catalogue: there is no file " + file);
    }
    try (InputStream in = Files.newInputStream(file)) {
      return GpuCatalogue.read(in, file.toString());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}

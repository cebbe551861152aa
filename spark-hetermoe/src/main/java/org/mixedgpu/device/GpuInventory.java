package org.mixedgpu.device;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * The GPUs of one machine, real or emulated.
 *
 * @param gpus of the generations that the catalogue knows
 * @param unknown a sentence for each other GPU, which says what to do about it
 */
public record GpuInventory(List<Gpu> gpus, List<String> unknown) {
  private static final List<String> QUERY =
      List.of(
          "nvidia-smi",
          "--query-gpu=index,name,compute_cap,memory.total,pci.bus_id",
          "--format=csv,noheader,nounits");
  private static final long LIMIT_S = 30;

  /**
   * One GPU.
   *
   * @param index as {@code nvidia-smi} counts, which CUDA need not
   * @param name as {@code nvidia-smi} says, or {@code emulated}
   * @param busId where it is plugged in, such as {@code 00000000:19:00.0}: what CUDA knows it by
   *     too; empty where emulated
   */
  public record Gpu(int index, String name, String generation, long memoryMib, String busId) {
    /** The address under a resource that does not name the generation: {@code hopper-0}. */
    public String generationAddress() {
      return generation + "-" + index;
    }
  }

  public GpuInventory {
    gpus = List.copyOf(gpus);
    unknown = List.copyOf(unknown);
  }

  /** Asks {@code nvidia-smi}; {@code MISSING} where there is none. */
  public static GpuInventory ofThisMachine(GpuCatalogue catalogue) {
    return parse(ask(), catalogue);
  }

  /**
   * Where the GPU of this index is plugged in, whatever its generation and those of the others;
   * {@code MISSING} where there is none.
   */
  public static String busId(int index) {
    return busId(ask(), index);
  }

  static String busId(String csv, int index) {
    return lines(csv).stream()
        .filter(fields -> fields[0].equals("" + index))
        .findFirst()
        .orElseThrow(() -> missing(index, csv.strip()))[4];
  }

  private static String ask() {
    return ask(QUERY, LIMIT_S);
  }

  /** What the command prints; a driver that hangs must not hold its caller. */
  static String ask(List<String> command, long limitSeconds) {
    try {
      Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
      try {
        process.getOutputStream().close();
        // Some hundred bytes, which the pipe holds until they are read.
        if (!process.waitFor(limitSeconds, TimeUnit.SECONDS)) {
          throw new MixedGpuException(
              Fault.MISSING,
              "nvidia-smi did not end within "
                  + limitSeconds
                  + " s: the driver or a GPU hangs; see dmesg, and reset the GPU or restart the"
                  + " machine");
        }
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (process.exitValue() != 0) {
          throw new MixedGpuException(
              Fault.MISSING, "nvidia-smi failed with " + process.exitValue() + ": " + out.strip());
        }
        return out;
      } finally {
        process.destroyForcibly();
      }
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.MISSING,
          "Cannot list the GPUs of this machine: nvidia-smi can't be run ("
              + e.getMessage()
              + "); install the NVIDIA driver with it and put it on the PATH, also the executors',"
              + " or let the backend cpu emulate with spark.hetermoe.emulatedGpus=hopper:1,volta:1",
          e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MixedGpuException(Fault.MISSING, "Interrupted while listing the GPUs", e);
    }
  }

  /** Reads lines such as {@code 0, NVIDIA H200, 9.0, 143771, 00000000:19:00.0}. */
  static GpuInventory parse(String csv, GpuCatalogue catalogue) {
    List<Gpu> gpus = new ArrayList<>();
    List<String> unknown = new ArrayList<>();
    for (String[] fields : lines(csv)) {
      String generation;
      try {
        generation = catalogue.generation(ComputeCapability.parse(fields[2]));
      } catch (MixedGpuException e) {
        // The others are none the worse for a card that nobody may want.
        unknown.add("GPU " + fields[0] + " (" + fields[1] + ") is left out: " + e.getMessage());
        continue;
      }
      gpus.add(
          new Gpu(
              Integer.parseInt(fields[0]),
              fields[1],
              generation,
              Long.parseLong(fields[3]),
              fields[4]));
    }
    return new GpuInventory(gpus, unknown);
  }

  /** The five fields of each GPU. */
  private static List<String[]> lines(String csv) {
    List<String[]> lines = new ArrayList<>();
    for (String line : csv.lines().filter(l -> !l.isBlank()).toList()) {
      String[] fields = line.strip().split("\\s*,\\s*");
      Check.input(
          fields.length == 5 && fields[0].matches("\\d+") && fields[3].matches("\\d+"),
          "nvidia-smi said '%s'; expected index, name, compute capability, MiB, bus id: the driver"
              + " may be too old to know compute_cap",
          line);
      lines.add(fields);
    }
    return lines;
  }

  /** Pretends: {@code hopper:1,volta:2} is one Hopper GPU and two Volta GPUs. */
  public static GpuInventory emulated(String text, GpuCatalogue catalogue) {
    List<Gpu> gpus = new ArrayList<>();
    for (String part : text.split(",")) {
      String[] pair = part.strip().split(":");
      Check.input(
          pair.length == 2 && pair[1].matches("\\d{1,3}"),
          "Emulated GPUs '%s' can't be read; write hopper:1,volta:2",
          text);
      catalogue.checkGeneration(pair[0]);
      for (int i = Integer.parseInt(pair[1]); i > 0; i--) {
        gpus.add(new Gpu(gpus.size(), "emulated", pair[0], 0, ""));
      }
    }
    return new GpuInventory(gpus, List.of());
  }

  /** The GPU of this index; {@code MISSING} where there is none. */
  public Gpu gpu(int index) {
    return gpus.stream()
        .filter(g -> g.index() == index)
        .findFirst()
        .orElseThrow(() -> missing(index, gpus + " " + String.join("; ", unknown)));
  }

  private static MixedGpuException missing(int index, String found) {
    return new MixedGpuException(
        Fault.MISSING, "There is no GPU " + index + " on this machine; nvidia-smi lists " + found);
  }

  public List<Gpu> ofGeneration(String generation) {
    return gpus.stream().filter(g -> g.generation().equals(generation)).toList();
  }
}

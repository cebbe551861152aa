package org.mixedgpu.hetermoe.spark.device;

import java.io.ByteArrayInputStream;
import java.nio.charset.StandardCharsets;
import org.mixedgpu.device.GpuCatalogue;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.TextFiles;

/** The GPU catalogue that {@code spark.hetermoe.gpuCatalogue} names. */
public final class ChosenCatalogue {
  private static final int MAX_BYTES = 1 << 20;

  private ChosenCatalogue() {}

  /**
   * Reads it.
   *
   * @param path the setting's value; empty for the one in the jar
   */
  public static GpuCatalogue read(String path, FileStore store) {
    if (path.isEmpty()) {
      return GpuCatalogue.builtIn();
    }
    byte[] text = TextFiles.read(store, path, MAX_BYTES).getBytes(StandardCharsets.UTF_8);
    return GpuCatalogue.read(new ByteArrayInputStream(text), path);
  }
}

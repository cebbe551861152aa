package org.mixedgpu.hetermoe.spark.device;

import java.io.ByteArrayInputStream;
import java.nio.ByteBuffer;
import org.mixedgpu.device.GpuCatalogue;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.RangeReader;

/** The GPU catalogue that {@code spark.hetermoe.gpuCatalogue} names. */
public final class ChosenCatalogue {
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
    try (RangeReader file = store.open(path)) {
      ByteBuffer bytes = ByteBuffer.allocate(Math.toIntExact(file.size()));
      file.readFully(0, bytes);
      return GpuCatalogue.read(new ByteArrayInputStream(bytes.array()), path);
    }
  }
}

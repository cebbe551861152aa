package org.mixedgpu.nn;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.mixedgpu.io.MemoryFileStore;

/** The files of a golden case in memory, for a host that has no Hadoop. */
public final class GoldenFiles {
  private GoldenFiles() {}

  /** Under {@code /NAME/} in the store. */
  public static MemoryFileStore of(String name) {
    MemoryFileStore store = new MemoryFileStore();
    try (Stream<Path> found = Files.list(Path.of(Golden.folder(name)))) {
      List<Path> files = found.filter(Files::isRegularFile).toList();
      for (Path file : files) {
        store.files.put("/" + name + "/" + file.getFileName(), Files.readAllBytes(file));
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return store;
  }
}

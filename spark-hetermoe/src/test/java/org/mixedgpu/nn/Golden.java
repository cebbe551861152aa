package org.mixedgpu.nn;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/** The recorded models of {@code src/test/resources/golden}. */
public final class Golden {
  private static final Path ROOT = Path.of("src/test/resources/golden");

  private Golden() {}

  /** Names of all cases. */
  public static List<String> cases() {
    try (Stream<Path> folders = Files.list(ROOT)) {
      return folders
          .filter(Files::isDirectory)
          .map(folder -> folder.getFileName().toString())
          .sorted()
          .toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public static String folder(String name) {
    return ROOT.resolve(name).toAbsolutePath().toString();
  }

  public static boolean isTrained(String name) {
    return Files.exists(ROOT.resolve(name).resolve("train.json"));
  }
}

package org.mixedgpu.cake.store;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import org.junit.jupiter.api.Test;

/** The dump in FORMAT.md is the file that the store writes, and the other way round. */
class BundleFormatTest {
  private static final Path FORMAT = Path.of("FORMAT.md");

  @Test
  void theDumpInTheFormatIsWhatIsWritten() throws Exception {
    MemoryFiles files = new MemoryFiles();
    TinyBundle.write(new BundleStore(files, "cache", TinyBundle.LAYOUT, 1 << 20));
    String dump = dump(files.contents.values().iterator().next());
    String format = Files.readString(FORMAT, StandardCharsets.UTF_8).replace("\r\n", "\n");
    assertThat(format)
        .as(
            "if the format changed on purpose, raise its version and put this into FORMAT.md:\n%s",
            dump)
        .contains(dump);
  }

  @Test
  void theDumpInTheFormatIsReadAsTheTinyBundle() throws Exception {
    MemoryFiles files = new MemoryFiles();
    TinyBundle.write(new BundleStore(files, "cache", TinyBundle.LAYOUT, 1 << 20));
    String name = files.contents.keySet().iterator().next();
    files.contents.put(name, parse(Files.readString(FORMAT, StandardCharsets.UTF_8)));
    assertThat(Bundles.verify(files, name)).isEmpty();
    BundleStore store = new BundleStore(files, "cache", TinyBundle.LAYOUT, 1 << 20);
    StoredChunk[] found =
        store.snapshot().find(TinyBundle.LAYOUT, TinyBundle.KEYS, 2, TinyBundle.PROMPT);
    for (int i = 0; i < 2; i++) {
      Load load = store.load(found[i], TinyBundle.buffer(store));
      assertThat(TinyBundle.bytes(load.payload())).isEqualTo(TinyBundle.payload(i));
    }
  }

  /** Lines of 16 bytes: offset, then hexadecimal bytes. */
  private static String dump(byte[] bytes) {
    StringBuilder out = new StringBuilder();
    for (int line = 0; line < bytes.length; line += 16) {
      out.append(String.format(Locale.ROOT, "%04x:", line));
      for (int i = line; i < Math.min(line + 16, bytes.length); i++) {
        out.append(String.format(Locale.ROOT, " %02x", bytes[i]));
      }
      out.append('\n');
    }
    return out.toString();
  }

  private static byte[] parse(String format) {
    java.io.ByteArrayOutputStream out = new java.io.ByteArrayOutputStream();
    for (String line : format.split("\n", -1)) {
      if (line.matches("[0-9a-f]{4}:( [0-9a-f]{2})+")) {
        assertThat(Integer.parseInt(line.substring(0, 4), 16)).isEqualTo(out.size());
        for (String hex : line.substring(6).split(" ", -1)) {
          out.write(Integer.parseInt(hex, 16));
        }
      }
    }
    return out.toByteArray();
  }
}

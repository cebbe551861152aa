package org.mixedgpu.io;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import org.mixedgpu.base.Check;

/** Whole small text files in UTF-8. */
public final class TextFiles {
  private TextFiles() {}

  /** {@code BAD_INPUT} where the file is larger than the limit. */
  public static String read(FileStore files, String path, int maxBytes) {
    try (RangeReader reader = files.open(path)) {
      Check.input(
          reader.size() <= maxBytes,
          "%s has %d bytes; expected at most %d",
          path,
          reader.size(),
          maxBytes);
      ByteBuffer bytes = ByteBuffer.allocate((int) reader.size());
      reader.readFully(0, bytes);
      return new String(bytes.array(), StandardCharsets.UTF_8);
    }
  }

  /** Writes and publishes; false where there is a file already, which stays. */
  public static boolean write(FileStore files, String path, String text) {
    try (NewFile file = files.create(path)) {
      file.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
      return file.publish();
    }
  }
}

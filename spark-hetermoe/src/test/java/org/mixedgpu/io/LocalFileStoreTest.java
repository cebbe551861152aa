package org.mixedgpu.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.ObjectInputStream;
import java.io.ObjectOutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@link HadoopFileStore} on the local disk. */
class LocalFileStoreTest extends FileStoreContract {
  @TempDir Path root;
  private final FileStore files = HadoopFileStore.ofDefaults();

  @Override
  protected FileStore files() {
    return files;
  }

  @Override
  protected String folder() {
    return root.resolve("store").toString();
  }

  @Test
  void leavesNoOtherFiles() throws IOException {
    try (NewFile file = files.create(in("x"))) {
      file.publish();
    }
    try (NewFile file = files.create(in("x"))) {
      file.publish();
    }
    try (NewFile file = files.create(in("y"))) {
      file.write(ByteBuffer.allocate(1));
    }
    try (var left = Files.list(root.resolve("store"))) {
      assertThat(left).extracting(path -> path.getFileName().toString()).containsExactly("x");
    }
  }

  @Test
  void isSentToExecutors() throws Exception {
    FileStore before = HadoopFileStore.of(Map.of("fs.defaultFS", "file:///").entrySet());
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ObjectOutputStream out = new ObjectOutputStream(bytes)) {
      out.writeObject(before);
    }
    FileStore after;
    try (ObjectInputStream in =
        new ObjectInputStream(new ByteArrayInputStream(bytes.toByteArray()))) {
      after = (FileStore) in.readObject();
    }
    Files.writeString(root.resolve("x"), "abc");
    assertThat(after.size("file:" + root.resolve("x"))).hasValue(3);
  }

  @Test
  void saysWhatIsWrongWithAPath() {
    assertThatThrownBy(() -> files.open("nosuch://host/x"))
        .hasMessageContaining("nosuch://host/x")
        .hasMessageContaining("No FileSystem for scheme");
    assertThatThrownBy(() -> files.open("a:b:c/d")).hasMessageContaining("is not a path");
  }

  @Test
  void readsFilesThatAnotherProgramRewrote() throws IOException {
    // Hadoop's own local file system would compare with a stale checksum file and refuse.
    try (NewFile file = files.create(in("x"))) {
      file.write(ByteBuffer.wrap(new byte[] {1}));
      file.publish();
    }
    Files.write(root.resolve("store/x"), new byte[] {2, 3});
    assertThat(files.size(in("x"))).hasValue(2);
  }
}

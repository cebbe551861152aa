package org.mixedgpu.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** {@link HadoopFileStore} on a file system with a plain rename, which may fail midway. */
class OtherFileStoreFaultTest {
  @TempDir Path root;

  private final FileStore files =
      HadoopFileStore.of(Map.of("fs.faulty.impl", FaultyFileSystem.class.getName()).entrySet());

  @AfterEach
  void healthy() {
    FaultyFileSystem.reset(FaultyFileSystem.Failure.NONE);
  }

  private String path() {
    return "faulty://" + root.resolve("file");
  }

  private boolean publish(FaultyFileSystem.Failure failure) {
    FaultyFileSystem.reset(failure);
    try (NewFile file = files.create(path())) {
      file.write(ByteBuffer.wrap(new byte[] {1, 2, 3}));
      return file.publish();
    }
  }

  private Stream<String> names() throws IOException {
    try (Stream<Path> found = Files.list(root)) {
      return found.map(path -> path.getFileName().toString()).toList().stream();
    }
  }

  @Test
  void publishesOnceAndNeverReplaces() throws IOException {
    assertThat(publish(FaultyFileSystem.Failure.NONE)).isTrue();
    assertThat(publish(FaultyFileSystem.Failure.NONE)).isFalse();
    assertThat(names()).containsExactly("file");
    assertThat(files.list("faulty://" + root))
        .extracting(FileEntry::path)
        .containsExactly("faulty:" + root.resolve("file"));
  }

  @Test
  void aRenameThatFailedIsReportedAndLeavesNothing() throws IOException {
    assertThatThrownBy(() -> publish(FaultyFileSystem.Failure.BEFORE))
        .hasMessageContaining("Cannot publish")
        .hasMessageContaining("injected");
    assertThat(FaultyFileSystem.fired).isEqualTo(1);
    assertThat(names()).isEmpty();
  }

  @Test
  void aRenameThatFailedAfterTheFactIsSeenToHaveHappened() throws IOException {
    assertThat(publish(FaultyFileSystem.Failure.AFTER)).isTrue();
    assertThat(FaultyFileSystem.fired).isEqualTo(1);
    assertThat(names()).containsExactly("file");
  }

  @Test
  void whatCannotBeSeenIsUnknown() throws IOException {
    assertThatThrownBy(() -> publish(FaultyFileSystem.Failure.AFTER_AND_SILENT))
        .hasMessageContaining("can't be asked what happened")
        .extracting(e -> ((MixedGpuException) e).fault())
        .isEqualTo(Fault.UNKNOWN_OUTCOME);
    assertThat(FaultyFileSystem.fired).isEqualTo(1);
    assertThat(names()).containsExactly("file");
  }
}

package org.mixedgpu.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** What {@link FileStore} means. Each test starts with an empty folder. */
public abstract class FileStoreContract {
  protected abstract FileStore files();

  /** A folder that is empty or does not exist. */
  protected abstract String folder();

  @BeforeEach
  void theFolderIsEmpty() {
    assertThat(files().list(folder())).isEmpty();
  }

  @Test
  void aFileAppearsWholeWhenPublished() {
    String path = in("a/b/file");
    try (NewFile file = files().create(path)) {
      assertThat(file.path()).endsWith("a/b/file");
      assertThat(file.write(bytes("hello "))).isEqualTo(6);
      ByteBuffer direct = ByteBuffer.allocateDirect(5);
      direct.put(bytes("world")).flip();
      assertThat(file.write(direct)).isEqualTo(5);
      assertThat(direct.hasRemaining()).isFalse();
      assertThat(file.position()).isEqualTo(11);
      assertThat(file.isOpen()).isTrue();
      assertThat(files().exists(path)).isFalse();
      assertThat(files().list(in("a/b"))).isEmpty();
      assertThat(file.publish()).isTrue();
      assertThat(file.isOpen()).isFalse();
    }
    assertThat(files().size(path)).hasValue(11);
    assertThat(read(path)).isEqualTo("hello world");
  }

  @Test
  void anEmptyFileIsAFile() {
    write(in("empty"), "");
    assertThat(files().size(in("empty"))).hasValue(0);
    assertThat(read(in("empty"))).isEmpty();
  }

  @Test
  void whatIsNotPublishedIsGone() {
    try (NewFile file = files().create(in("dropped"))) {
      file.write(bytes("x"));
    }
    assertThat(files().exists(in("dropped"))).isFalse();
    assertThat(files().list(folder())).isEmpty();
  }

  @Test
  void publishingNeverReplaces() {
    write(in("file"), "first");
    try (NewFile file = files().create(in("file"))) {
      file.write(bytes("second"));
      assertThat(file.publish()).isFalse();
    }
    assertThat(read(in("file"))).isEqualTo("first");
    assertThat(files().list(folder())).hasSize(1);
  }

  @Test
  void ofManyWritersExactlyOneWins() throws Exception {
    int writers = 8;
    ExecutorService threads = Executors.newFixedThreadPool(writers);
    try {
      List<Callable<Boolean>> calls = new ArrayList<>();
      for (int i = 0; i < writers; i++) {
        String text = "writer " + i;
        calls.add(
            () -> {
              try (NewFile file = files().create(in("raced"))) {
                file.write(bytes(text));
                return file.publish();
              }
            });
      }
      int winner = -1;
      int wins = 0;
      List<Future<Boolean>> outcomes = threads.invokeAll(calls);
      for (int i = 0; i < writers; i++) {
        if (outcomes.get(i).get()) {
          wins++;
          winner = i;
        }
      }
      assertThat(wins).isEqualTo(1);
      assertThat(read(in("raced"))).isEqualTo("writer " + winner);
      assertThat(files().list(folder())).hasSize(1);
    } finally {
      threads.shutdownNow();
    }
  }

  @Test
  void readsAnyRangeIntoAnyBuffer() {
    byte[] content = new byte[3_000_000];
    new Random(7).nextBytes(content);
    try (NewFile file = files().create(in("large"))) {
      file.write(ByteBuffer.wrap(content));
      file.publish();
    }
    try (RangeReader reader = files().open(in("large"))) {
      assertThat(reader.size()).isEqualTo(content.length);
      for (int[] range : new int[][] {{0, 10}, {2_999_990, 10}, {17, 2_500_000}, {5, 0}}) {
        byte[] expected = java.util.Arrays.copyOfRange(content, range[0], range[0] + range[1]);
        ByteBuffer heap = ByteBuffer.allocate(range[1] + 2).position(1).limit(range[1] + 1);
        reader.readFully(range[0], heap);
        assertThat(heap.hasRemaining()).isFalse();
        assertThat(java.util.Arrays.copyOfRange(heap.array(), 1, range[1] + 1)).isEqualTo(expected);
        ByteBuffer direct = ByteBuffer.allocateDirect(range[1]);
        reader.readFully(range[0], direct);
        byte[] read = new byte[range[1]];
        direct.flip().get(read);
        assertThat(read).isEqualTo(expected);
      }
    }
  }

  @Test
  void readingPastTheEndIsCorrupt() {
    write(in("short"), "abc");
    try (RangeReader reader = files().open(in("short"))) {
      assertFault(() -> reader.readFully(0, ByteBuffer.allocate(4)), Fault.CORRUPT, "has 3 bytes");
      assertFault(() -> reader.readFully(3, ByteBuffer.allocate(1)), Fault.CORRUPT, "has 3 bytes");
      assertFault(
          () -> reader.readFully(Long.MAX_VALUE, ByteBuffer.allocate(1)), Fault.CORRUPT, "short");
      assertFault(() -> reader.readFully(-1, ByteBuffer.allocate(1)), Fault.BAD_INPUT, "negative");
    }
  }

  @Test
  void listsPublishedFilesByName() {
    write(in("b"), "22");
    write(in("a"), "1");
    write(in("below/c"), "3");
    try (NewFile unpublished = files().create(in("0"))) {
      unpublished.write(bytes("x"));
      List<FileEntry> entries = files().list(folder());
      assertThat(entries).extracting(FileEntry::name).containsExactly("a", "b");
      assertThat(entries).extracting(FileEntry::bytes).containsExactly(1L, 2L);
      assertThat(read(entries.get(1).path())).isEqualTo("22");
      assertThat(entries.get(0).modifiedMillis()).isPositive();
    }
  }

  @Test
  void absenceIsNotAnErrorExceptWhenOpening() {
    assertThat(files().exists(in("no"))).isFalse();
    assertThat(files().size(in("no/such"))).isEmpty();
    assertThat(files().list(in("no"))).isEmpty();
    assertThat(files().delete(in("no"))).isFalse();
    assertFault(() -> files().open(in("no")), Fault.MISSING, "no");
  }

  @Test
  void aFolderIsNotAFile() {
    write(in("sub/file"), "x");
    assertThat(files().exists(in("sub"))).isFalse();
    assertFault(() -> files().open(in("sub")), Fault.BAD_INPUT, "folder");
    assertFault(() -> files().delete(in("sub")), Fault.BAD_INPUT, "folder");
    assertFault(() -> files().list(in("sub/file")), Fault.BAD_INPUT, "file");
    assertThat(read(in("sub/file"))).isEqualTo("x");
  }

  @Test
  void deletesFiles() {
    write(in("file"), "x");
    assertThat(files().delete(in("file"))).isTrue();
    assertThat(files().exists(in("file"))).isFalse();
    assertThat(files().delete(in("file"))).isFalse();
    write(in("file"), "again");
    assertThat(read(in("file"))).isEqualTo("again");
  }

  @Test
  void aPathNeedsAName() {
    assertFault(() -> files().open(""), Fault.BAD_INPUT, "''");
  }

  protected final String in(String name) {
    return FileStore.in(folder(), name);
  }

  private void write(String path, String text) {
    try (NewFile file = files().create(path)) {
      file.write(bytes(text));
      assertThat(file.publish()).isTrue();
    }
  }

  private String read(String path) {
    try (RangeReader reader = files().open(path)) {
      ByteBuffer bytes = ByteBuffer.allocate((int) reader.size());
      reader.readFully(0, bytes);
      return new String(bytes.array(), StandardCharsets.UTF_8);
    }
  }

  private static ByteBuffer bytes(String text) {
    return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
  }

  private static void assertFault(ThrowingCallable call, Fault fault, String message) {
    assertThatThrownBy(call)
        .hasMessageContaining(message)
        .isInstanceOf(MixedGpuException.class)
        .extracting(e -> ((MixedGpuException) e).fault())
        .isEqualTo(fault);
  }
}

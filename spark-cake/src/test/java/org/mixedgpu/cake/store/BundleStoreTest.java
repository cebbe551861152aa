package org.mixedgpu.cake.store;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SeekableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.FixedSizeBinaryVector;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ArrowFileReader;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.tensor.DType;

class BundleStoreTest {
  private final MemoryFiles files = new MemoryFiles();

  private BundleStore store(long bundleBytes) {
    return new BundleStore(files, "cache", TinyBundle.LAYOUT, bundleBytes);
  }

  @Test
  void anotherModelFindsNothing() {
    TinyBundle.write(store(1 << 20));
    KvLayout other =
        new KvLayout("f".repeat(64), 1, 1, 1, TinyBundle.LAYOUT.type(), "theta=10000", 2);
    assertThat(new BundleStore(files, "cache", other, 1 << 20).snapshot().size()).isZero();
  }

  @Test
  void aFullBundleIsPublishedAndTheNextBegun() {
    BundleStore store = store(1);
    try (ChunkWriter writer = store.writer()) {
      assertThat(TinyBundle.append(writer, 1)).isTrue();
      assertThat(files.contents).hasSize(1);
      assertThat(TinyBundle.append(writer, 1)).isFalse();
      assertThat(TinyBundle.append(writer, 0)).isTrue();
      writer.finish();
      assertThat(writer.chunks()).isEqualTo(2);
    }
    assertThat(files.contents).hasSize(2);
    assertThat(store.snapshot().size()).isEqualTo(2);
  }

  @Test
  void aWriterFindsWhatTheSameWorkPublishedBefore() {
    try (ChunkWriter before = store(1 << 20).writer();
        ChunkWriter beside = store(1 << 20).writer()) {
      assertThat(before.isPublished(TinyBundle.KEYS[1])).isFalse();
      TinyBundle.append(before, 1);
      assertThat(beside.isPublished(TinyBundle.KEYS[1])).isFalse();
      TinyBundle.append(before, 0);
      before.finish();
      assertThat(beside.isPublished(TinyBundle.KEYS[1])).isTrue();
    }
    try (ChunkWriter again = store(1 << 20).writer()) {
      assertThat(again.isPublished(TinyBundle.KEYS[1])).isTrue();
      int reads = files.reads.get();
      assertThat(again.isPublished(TinyBundle.KEYS[0])).isTrue();
      assertThat(files.reads.get()).isEqualTo(reads);
    }
    // What can't be read is no reason not to write.
    files.contents.replaceAll((path, bytes) -> new byte[bytes.length]);
    try (ChunkWriter again = store(1 << 20).writer()) {
      assertThat(again.isPublished(TinyBundle.KEYS[1])).isFalse();
    }
  }

  /** As rows do that repeat the prompt before them. */
  @Test
  void whoAsksForWhatHeWroteDoesNotListTheFolder() {
    AtomicInteger lists = new AtomicInteger();
    FileStore counting =
        Intercepted.over(
            FileStore.class,
            files,
            (method, arguments, call) -> {
              lists.addAndGet(method.equals("list") ? 1 : 0);
              return call.proceed();
            });
    try (ChunkWriter writer =
        new BundleStore(counting, "cache", TinyBundle.LAYOUT, 1 /* one chunk */).writer()) {
      for (int i = 0; i < 5; i++) {
        assertThat(writer.isPublished(TinyBundle.KEYS[1])).isFalse();
        TinyBundle.append(writer, 1);
      }
      assertThat(lists.get()).isEqualTo(1);
    }
  }

  /** Its index is larger than what is read first. */
  @Test
  void aBundleOfManyChunksIsRead() {
    int[] prompt = new int[2 * 1500];
    for (int i = 0; i < prompt.length; i++) {
      prompt[i] = i * i;
    }
    PrefixKey[] keys = PrefixKey.chain(TinyBundle.LAYOUT, prompt);
    BundleStore store = store(1L << 30);
    try (ChunkWriter writer = store.writer()) {
      for (int i = keys.length - 1; i >= 0; i--) {
        int at = i;
        writer.append(
            keys[i],
            i == 0 ? PrefixKey.root(TinyBundle.LAYOUT) : keys[i - 1],
            new int[] {prompt[2 * i], prompt[2 * i + 1]},
            into -> into.putInt(at).putInt(-at).putInt(0).putInt(0));
      }
      writer.finish();
    }
    assertThat(files.contents).hasSize(1);
    StoredChunk[] found = store.snapshot().find(TinyBundle.LAYOUT, keys, keys.length, prompt);
    assertThat(found).doesNotContainNull();
    assertThat(found[0].offset()).isGreaterThan(found[1].offset());
    Load load = store.load(found[1234], TinyBundle.buffer(store));
    assertThat(load.payload().order(ByteOrder.LITTLE_ENDIAN).getInt()).isEqualTo(1234);
  }

  @Test
  void nothingIsVisibleBeforeFinish() {
    try (ChunkWriter writer = store(1 << 20).writer()) {
      TinyBundle.append(writer, 0);
    }
    assertThat(files.contents).isEmpty();
  }

  @Test
  void indexesAreReadOnceUntilTheFileChanges() {
    BundleStore store = store(1 << 20);
    TinyBundle.write(store);
    assertThat(store.snapshot().size()).isEqualTo(2);
    int reads = files.reads.get();
    assertThat(store.snapshot().size()).isEqualTo(2);
    assertThat(files.reads.get()).isEqualTo(reads);
    Map.Entry<String, byte[]> file = files.contents.entrySet().iterator().next();
    files.contents.put(file.getKey(), new byte[file.getValue().length + 1]);
    assertThat(store.snapshot().size()).isZero();
    assertThat(store.snapshot().problems()).hasSize(1);
  }

  /** The hash proposes, the tokens decide. */
  @Test
  void aKeyWithOtherTokensIsNoHit() {
    TinyBundle.write(store(1 << 20));
    CacheSnapshot snapshot = store(1 << 20).snapshot();
    int[] others = {11, 12, 21, 23};
    StoredChunk[] found = snapshot.find(TinyBundle.LAYOUT, TinyBundle.KEYS, 2, others);
    assertThat(found[0]).isNotNull();
    assertThat(found[1]).isNull();
  }

  @Test
  void arrowReadsABundleFromARealFile(@TempDir Path folder) throws Exception {
    String cache = folder.toString();
    BundleStore store =
        new BundleStore(HadoopFileStore.ofDefaults(), cache, TinyBundle.LAYOUT, 1 << 20);
    TinyBundle.write(store);
    StoredChunk[] found =
        store.snapshot().find(TinyBundle.LAYOUT, TinyBundle.KEYS, 2, TinyBundle.PROMPT);
    assertThat(TinyBundle.bytes(store.load(found[1], TinyBundle.buffer(store)).payload()))
        .isEqualTo(TinyBundle.payload(1));
    store.close();

    Path file;
    try (java.util.stream.Stream<Path> all = Files.list(folder)) {
      file = all.findFirst().orElseThrow();
    }
    try (SeekableByteChannel in = Files.newByteChannel(file);
        BufferAllocator allocator = new RootAllocator(1 << 20);
        ArrowFileReader reader = new ArrowFileReader(in, allocator)) {
      VectorSchemaRoot row = reader.getVectorSchemaRoot();
      for (int chunk = 1; chunk >= 0; chunk--) {
        assertThat(reader.loadNextBatch()).isTrue();
        assertThat(row.getRowCount()).isEqualTo(1);
        assertThat(((FixedSizeBinaryVector) row.getVector("key")).get(0))
            .isEqualTo(TinyBundle.KEYS[chunk].toBytes());
        assertThat(row.getVector("tokens").getObject(0))
            .hasToString(
                "[" + TinyBundle.PROMPT[2 * chunk] + "," + TinyBundle.PROMPT[2 * chunk + 1] + "]");
        assertThat(((FixedSizeBinaryVector) row.getVector("kv")).get(0))
            .isEqualTo(TinyBundle.payload(chunk));
      }
      assertThat(reader.loadNextBatch()).isFalse();
    }
  }

  /** A message of 8 MiB is read in three parts; the second is the last that is wanted. */
  @Test
  void aReadThatIsNotWantedAnyMoreEndsAtItsNextPart() {
    KvLayout large =
        new KvLayout("0123456789abcdef".repeat(4), 1, 1, 1024, DType.F32, "theta=10000", 1024);
    int[] prompt = new int[1024];
    PrefixKey key = PrefixKey.chain(large, prompt)[0];
    try (BundleStore store = new BundleStore(files, "cache", large, 1L << 30)) {
      try (ChunkWriter writer = store.writer()) {
        writer.append(
            key, PrefixKey.root(large), prompt, into -> into.putInt(large.chunkBytes() - 4, 77));
        writer.finish();
      }
      StoredChunk chunk = store.snapshot().find(large, new PrefixKey[] {key}, 1, prompt)[0];
      ByteBuffer buffer = ByteBuffer.allocate(store.bufferBytes());
      AtomicInteger asked = new AtomicInteger();
      int before = files.reads.get();
      Load abandoned = store.load(chunk, buffer, () -> asked.incrementAndGet() <= 2);
      assertThat(abandoned.outcome()).isEqualTo(Load.Outcome.ABANDONED);
      assertThat(abandoned.payload()).isNull();
      assertThat(files.reads.get() - before).isEqualTo(2);
      Load whole = store.load(chunk, buffer);
      assertThat(files.reads.get() - before).isEqualTo(5);
      ByteBuffer payload = whole.payload().order(ByteOrder.LITTLE_ENDIAN);
      assertThat(payload.getInt(large.chunkBytes() - 4)).isEqualTo(77);
    }
  }
}

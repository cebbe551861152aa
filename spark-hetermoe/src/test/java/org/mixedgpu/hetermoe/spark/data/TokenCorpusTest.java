package org.mixedgpu.hetermoe.spark.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.io.RangeReader;

class TokenCorpusTest {
  private static final FileStore STORE = HadoopFileStore.ofDefaults();

  @TempDir Path folder;

  @Test
  void sequencesRunAcrossBlocksAndShardsAsIfThereWereNone() {
    int[] sizes = {5000, 0, 1, ShardWriter.BLOCK_TOKENS, 12_345};
    TokenCorpus corpus = corpus(100, sizes);
    assertThat(corpus.tokens()).isEqualTo(5000 + 1 + 4096 + 12_345);
    assertThat(corpus.sequences()).isEqualTo(214);
    try (CorpusReader reader = new CorpusReader(STORE, corpus)) {
      for (long s = corpus.sequences() - 1; s >= 0; s--) {
        int[] sequence = reader.sequence(s);
        for (int i = 0; i < sequence.length; i++) {
          assertThat(sequence[i]).isEqualTo((int) (s * 100 + i));
        }
      }
      assertThatThrownBy(() -> reader.sequence(214)).hasMessageContaining("Sequence 214");
    }
  }

  @Test
  void everyFlippedBitAndEveryCutIsFound() throws IOException {
    TokenCorpus corpus = corpus(5, 20);
    Path file = Path.of(corpus.shards().get(0).path());
    byte[] whole = Files.readAllBytes(file);
    assertThat(whole).hasSize(16 + 80 + 4 + 16);
    for (int bit = 0; bit < whole.length * 8; bit++) {
      byte[] damaged = whole.clone();
      damaged[bit / 8] ^= (byte) (1 << bit % 8);
      Files.write(file, damaged);
      assertCorrupt(corpus, "bit " + bit);
    }
    for (int length = 0; length < whole.length; length++) {
      Files.write(file, Arrays.copyOf(whole, length));
      assertCorrupt(corpus, "cut to " + length);
    }
    Files.write(file, whole);
    try (CorpusReader reader = new CorpusReader(STORE, corpus)) {
      assertThat(reader.sequence(3)).containsExactly(15, 16, 17, 18, 19);
    }
  }

  @Test
  void onlySomeShardsAreOpenAtATime() {
    int shards = 200;
    TokenCorpus corpus = corpus(5, IntStream.generate(() -> 10).limit(shards).toArray());
    AtomicInteger open = new AtomicInteger();
    AtomicInteger opened = new AtomicInteger();
    int most = 0;
    try (CorpusReader reader = new CorpusReader(counting(open, opened), corpus)) {
      for (int s = 0; s < shards; s++) {
        assertThat(reader.sequence(2 * s)).startsWith(10 * s);
        most = Math.max(most, open.get());
      }
      assertThat(opened).hasValue(shards);
      // Its block is still here, and needs no file.
      assertThat(reader.sequence(1)).containsExactly(5, 6, 7, 8, 9);
      assertThat(opened).hasValue(shards);
    }
    assertThat(most).isBetween(2, 64);
    assertThat(open).hasValue(0);
  }

  @Test
  void aShardThatWasClosedIsOpenedAgain() {
    int shards = 300;
    TokenCorpus corpus = corpus(5, IntStream.generate(() -> 5).limit(shards).toArray());
    AtomicInteger open = new AtomicInteger();
    AtomicInteger opened = new AtomicInteger();
    try (CorpusReader reader = new CorpusReader(counting(open, opened), corpus)) {
      for (int i = 0; i < 2 * shards; i++) {
        int s = i % shards;
        assertThat(reader.sequence(s)).startsWith(5 * s, 5 * s + 1);
      }
    }
    assertThat(opened).hasValue(2 * shards);
    assertThat(open).hasValue(0);
  }

  private static FileStore counting(AtomicInteger open, AtomicInteger opened) {
    return Intercepted.over(
        FileStore.class,
        STORE,
        (method, arguments, call) -> {
          if (!method.equals("open")) {
            return call.proceed();
          }
          open.incrementAndGet();
          opened.incrementAndGet();
          return Intercepted.over(
              RangeReader.class,
              (RangeReader) call.proceed(),
              (of, passed, inner) -> {
                if (of.equals("close")) {
                  open.decrementAndGet();
                }
                return inner.proceed();
              });
        });
  }

  private static void assertCorrupt(TokenCorpus corpus, String what) {
    assertThatThrownBy(
            () -> {
              try (CorpusReader reader = new CorpusReader(STORE, corpus)) {
                reader.sequence(0);
              }
            })
        .as(what)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.CORRUPT));
  }

  /** Shards of these sizes that hold 0, 1, 2, ... */
  private TokenCorpus corpus(int sequenceLength, int... sizes) {
    List<TokenCorpus.Shard> shards = new ArrayList<>();
    int next = 0;
    for (int s = 0; s < sizes.length; s++) {
      String path = folder.resolve("shard-" + s).toString();
      try (NewFile file = STORE.create(path)) {
        ShardWriter writer = new ShardWriter(file);
        for (int i = 0; i < sizes[s]; i++) {
          writer.append(next++);
        }
        writer.publish();
      }
      shards.add(new TokenCorpus.Shard(path, sizes[s]));
    }
    return new TokenCorpus(shards, sequenceLength);
  }
}

package org.mixedgpu.cake.store;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.cake.key.PrefixKey;

/** A read that a dying DataNode does not answer: all others go on, each bundle has one chunk. */
@Timeout(120)
class HungReadTest {
  private static final int[] PROMPT = {1, 2, 3, 4, 5, 6};

  private final MemoryFiles files = new MemoryFiles();
  private final BundleStore store = new BundleStore(files, "cache", TinyBundle.LAYOUT, 1);
  private final CountDownLatch gate = new CountDownLatch(1);
  private final CountDownLatch hangs = new CountDownLatch(1);
  private StoredChunk[] chunks;

  @BeforeEach
  void write() {
    PrefixKey[] keys = PrefixKey.chain(TinyBundle.LAYOUT, PROMPT);
    try (ChunkWriter writer = store.writer()) {
      for (int i = 0; i < keys.length; i++) {
        PrefixKey parent = i == 0 ? PrefixKey.root(TinyBundle.LAYOUT) : keys[i - 1];
        int[] tokens = {PROMPT[2 * i], PROMPT[2 * i + 1]};
        writer.append(keys[i], parent, tokens, into -> into.put(TinyBundle.payload(0)));
      }
      writer.finish();
    }
    chunks = store.snapshot().find(TinyBundle.LAYOUT, keys, keys.length, PROMPT);
    assertThat(files.contents).hasSize(3);
    assertThat(files.open.get()).isZero();
  }

  @AfterEach
  void open() {
    gate.countDown();
  }

  /** Lets only this bundle wait. */
  private Consumer<String> gateOf(StoredChunk chunk) {
    return path -> {
      if (path.equals(chunk.bundle())) {
        hangs.countDown();
        await(gate);
      }
    };
  }

  private static void await(CountDownLatch latch) {
    try {
      assertThat(latch.await(60, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static <T> CompletableFuture<T> begin(Supplier<T> work) {
    CompletableFuture<T> done = new CompletableFuture<>();
    Thread thread = new Thread(() -> done.complete(work.get()), "hung-read-test");
    thread.setDaemon(true);
    thread.start();
    return done;
  }

  private Load load(StoredChunk chunk) throws Exception {
    return begin(() -> store.load(chunk, TinyBundle.buffer(store))).get(10, TimeUnit.SECONDS);
  }

  private void assertOnlyTheHungReadWaits() throws Exception {
    assertThat(load(chunks[2]).loaded()).isTrue();
    CompletableFuture<Load> hung = begin(() -> store.load(chunks[0], TinyBundle.buffer(store)));
    await(hangs);
    files.contents.remove(chunks[1].bundle());
    assertThat(load(chunks[1]).outcome()).isEqualTo(Load.Outcome.MISSING);
    assertThat(load(chunks[2]).loaded()).isTrue();
    begin(
            () -> {
              store.close();
              return true;
            })
        .get(10, TimeUnit.SECONDS);
    assertThat(hung).isNotDone();
    gate.countDown();
    // Its handle was forgotten, not closed under it; whoever uses it last closes it.
    assertThat(hung.get(10, TimeUnit.SECONDS).loaded()).isTrue();
    assertThat(files.open.get()).isZero();
  }

  @Test
  void aReadThatHangsHoldsUpNobody() throws Exception {
    files.beforeRead = gateOf(chunks[0]);
    assertOnlyTheHungReadWaits();
  }

  @Test
  void anOpenThatHangsHoldsUpNobody() throws Exception {
    files.beforeOpen = gateOf(chunks[0]);
    assertOnlyTheHungReadWaits();
  }
}

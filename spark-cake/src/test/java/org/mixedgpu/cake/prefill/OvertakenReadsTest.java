package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.cake.plan.RaceFacts;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.cake.store.MemoryFiles;
import org.mixedgpu.cake.store.StoredChunk;

/** Reads end when a test lets them: each waits at a gate in the store. */
@Timeout(120)
class OvertakenReadsTest {
  private static final int CHUNKS = 4;
  private static final int NEVER = 99;
  private static final int[] PROMPT = TinyModel.tokens(CHUNKS * TinyModel.CHUNK + 3, 1);
  private static final int[] OTHER = TinyModel.tokens(CHUNKS * TinyModel.CHUNK + 3, 2);

  private final TinyModel tiny = new TinyModel(TinyModel.dense());
  private final TrickStore store =
      new TrickStore(new BundleStore(new MemoryFiles(), "cache", tiny.layout(), 1 << 20));
  private StoredChunk[] chunks;
  private Bits computed;
  private Bits other;

  @BeforeEach
  void computeAndStore() {
    try (PrefillRunner runner = runner(PrefillMode.COMPUTE, 1);
        ChunkWriter writer = store.writer()) {
      other = Bits.of(runner, runner.run(OTHER));
      computed = Bits.of(runner, runner.run(PROMPT));
      assertThat(runner.write(writer, 0, CHUNKS)).isEqualTo(CHUNKS);
      writer.finish();
    }
    PrefixKey[] keys = PrefixKey.chain(tiny.layout(), PROMPT);
    chunks = store.snapshot().find(tiny.layout(), keys, CHUNKS, PROMPT);
  }

  /** Closing the model finds tensors that were not closed. */
  @AfterEach
  void close() {
    store.close();
    tiny.close();
    assertThat(Thread.getAllStackTraces().keySet())
        .noneMatch(thread -> thread.getName().equals("kv-load"));
  }

  private PrefillRunner runner(PrefillMode mode, int readsInFlight) {
    return runner(mode, readsInFlight, IoRate.unlimited());
  }

  private PrefillRunner runner(PrefillMode mode, int readsInFlight, IoRate rate) {
    PrefillOptions options = new PrefillOptions(mode, 100, readsInFlight, rate);
    return new PrefillRunner(tiny.model, store, store.snapshot(), options);
  }

  /** Reads that begin at once and end at gates. */
  private final class Gates implements Claims {
    final Map<StoredChunk, CountDownLatch> gates = new HashMap<>();

    /** By chunk: its gate opens when the compute side comes to this one. */
    final int[] opens;

    private final CountDownLatch begun;

    /**
     * @param readers so many reads have come to their gates before anything is computed
     */
    Gates(int readers, int... opens) {
      this.opens = opens;
      begun = new CountDownLatch(readers);
      for (StoredChunk chunk : chunks) {
        gates.put(chunk, new CountDownLatch(1));
      }
      store.wanted.clear();
      store.loads =
          (chunk, into) -> {
            begun.countDown();
            await(gates.get(chunk));
            return store.store.load(chunk, into);
          };
    }

    void openAll() {
      gates.values().forEach(CountDownLatch::countDown);
    }

    @Override
    public boolean mayLoad(int chunk) {
      return true;
    }

    @Override
    public boolean mayCompute(int chunk) {
      return true;
    }

    @Override
    public boolean begins(RaceFacts facts, int chunk) {
      return true;
    }

    /** A read whose gate is open is waited for, so that who has a chunk does not hang on luck. */
    @Override
    public double waits(RaceFacts facts, int chunk, int open) {
      await(begun);
      for (int c = 0; c < CHUNKS; c++) {
        if (opens[c] <= chunk) {
          gates.get(chunks[c]).countDown();
        }
      }
      return opens[chunk] <= chunk && open == 0 ? 1e12 : 0;
    }
  }

  private static void await(CountDownLatch gate) {
    try {
      assertThat(gate.await(60, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** For each chunk, each moment at which its read may end: 2 · 3 · 4 · 5 of them. */
  private static List<int[]> interleavings() {
    List<int[]> all = new ArrayList<>();
    for (int i = 0; i < 2 * 3 * 4 * 5; i++) {
      int[] opens = {i % 2, i / 2 % 3, i / 6 % 4, i / 24};
      for (int c = 0; c < CHUNKS; c++) {
        opens[c] = opens[c] <= c ? opens[c] : NEVER;
      }
      all.add(opens);
    }
    return all;
  }

  @Test
  void everyInterleavingGivesTheSameBitsAndWaitsForNoReadThatWasOvertaken() {
    for (int[] opens : interleavings()) {
      Gates gates = new Gates(CHUNKS, opens);
      long overtaken = Arrays.stream(opens).filter(open -> open == NEVER).count();
      try (PrefillRunner runner = runner(PrefillMode.CAKE, CHUNKS)) {
        // Returns although the gates of overtaken reads are shut.
        PrefillResult result = runner.run(PROMPT, gates);
        computed.assertSame(Bits.of(runner, result));
        assertThat(result.overtaken()).as(Arrays.toString(opens)).isEqualTo((int) overtaken);
        assertThat(result.loaded()).isEqualTo((int) (CHUNKS - overtaken) * TinyModel.CHUNK);
        assertThat(result.problems()).isEmpty();
        for (int c = 0; c < CHUNKS; c++) {
          if (opens[c] == NEVER) {
            assertThat(store.wanted.get(chunks[c]).getAsBoolean()).as("chunk %d", c).isFalse();
          }
        }
        // Their bytes come while the next prompt is in the cache: it is not theirs any more.
        gates.openAll();
        other.assertSame(Bits.of(runner, runner.run(OTHER, gates)));
        computed.assertSame(Bits.of(runner, runner.run(PROMPT, gates)));
      }
    }
  }

  /** Fewer readers than chunks: which reads begin depends on which have ended. */
  @Test
  void everyInterleavingOfFewReadersGivesTheSameBits() {
    for (int[] opens : interleavings()) {
      Gates gates = new Gates(2, opens);
      try (PrefillRunner runner = runner(PrefillMode.CAKE, 2)) {
        PrefillResult result = runner.run(PROMPT, gates);
        computed.assertSame(Bits.of(runner, result));
        assertThat(result.loaded() + result.computed()).isEqualTo(PROMPT.length);
        gates.openAll();
      }
    }
  }

  @Test
  void whileAllReadersHangTheNextPromptsAreComputed() {
    Gates gates = new Gates(2, NEVER, NEVER, NEVER, NEVER);
    try (PrefillRunner runner = runner(PrefillMode.CAKE, 2)) {
      assertThat(runner.run(PROMPT, gates).overtaken()).isEqualTo(2);
      other.assertSame(Bits.of(runner, runner.run(OTHER, gates)));
      PrefillResult again = runner.run(PROMPT, gates);
      assertThat(again.overtaken()).isZero();
      assertThat(again.computed()).isEqualTo(PROMPT.length);
      computed.assertSame(Bits.of(runner, again));
      gates.openAll();
    }
  }

  /** Time stands still unless a test moves it; reads wait until they are told to stop. */
  private static final class StoppedClock implements Clock {
    private final Thread test = Thread.currentThread();
    volatile long now;

    @Override
    public long nanoTime() {
      return now;
    }

    @Override
    public long await(Condition condition, long nanos) throws InterruptedException {
      assertThat(Thread.currentThread()).as("the link is taken").isNotSameAs(test);
      condition.await();
      return nanos;
    }
  }

  @Test
  void theLinkIsFreeForTheNextPromptWhenReadsWereOvertaken() throws Exception {
    Gates gates = new Gates(CHUNKS, NEVER, NEVER, NEVER, NEVER);
    gates.openAll();
    StoppedClock clock = new StoppedClock();
    IoRate rate = new IoRate(1e9, clock);
    try (PrefillRunner runner = runner(PrefillMode.CAKE, CHUNKS, rate)) {
      assertThat(runner.run(PROMPT, gates).overtaken()).isEqualTo(CHUNKS);
      IoRate.Turn next = rate.begin(1000);
      clock.now += 1000;
      rate.finish(next);
    }
  }

  /** With the real plan, before it knows any speed. */
  @Test
  void aLinkThatNobodyKnowsIsTriedWithOneReadThatNobodyWaitsFor() {
    Gates gates = new Gates(0, NEVER, NEVER, NEVER, NEVER);
    try (PrefillRunner runner = runner(PrefillMode.CAKE, CHUNKS)) {
      PrefillResult result = runner.run(PROMPT);
      assertThat(result.overtaken()).isEqualTo(1);
      assertThat(result.computed()).isEqualTo(PROMPT.length);
      computed.assertSame(Bits.of(runner, result));
      gates.openAll();
    }
  }

  /** A read that fails after it was overtaken is no trouble of the prompt that is there by then. */
  @Test
  void anOvertakenReadMayFail() {
    CountDownLatch gate = new CountDownLatch(1);
    Gates gates = new Gates(0, NEVER, NEVER, NEVER, NEVER);
    store.loads =
        (chunk, into) -> {
          await(gate);
          throw new IllegalStateException("injected: load");
        };
    try (PrefillRunner runner = runner(PrefillMode.CAKE, CHUNKS)) {
      computed.assertSame(Bits.of(runner, runner.run(PROMPT, gates)));
      gate.countDown();
      PrefillResult next = runner.run(OTHER, gates);
      other.assertSame(Bits.of(runner, next));
      assertThat(next.problems()).isEmpty();
    }
  }

  /** No plan may make pure loading compute. */
  @Test
  void modeLoadLoadsAllThatIsStored() {
    Gates gates = new Gates(0, 0, 0, 0, 0);
    gates.openAll();
    try (PrefillRunner runner = runner(PrefillMode.LOAD, 2)) {
      for (int i = 0; i < 5; i++) {
        PrefillResult result = runner.run(PROMPT);
        assertThat(result.loaded()).isEqualTo(CHUNKS * TinyModel.CHUNK);
        assertThat(result.overtaken()).isZero();
        runner.run(OTHER);
      }
    }
  }
}

package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.CacheSnapshot;
import org.mixedgpu.cake.store.ChunkWriter;
import org.mixedgpu.cake.store.MemoryFiles;
import org.mixedgpu.cake.store.StoredChunk;
import org.mixedgpu.tensor.DType;

@Timeout(60)
class CachedPrefillTest {
  private static final int CHUNKS = 20;
  private static final int CHUNK = TinyModel.CHUNK;
  private static final int[] PROMPT = TinyModel.tokens(CHUNKS * CHUNK + 3, 1);

  private final MemoryFiles files = new MemoryFiles();
  private TinyModel tiny;
  private TrickStore store;

  @BeforeEach
  void open() {
    open(new TinyModel(TinyModel.dense()));
  }

  private void open(TinyModel model) {
    tiny = model;
    store = new TrickStore(new BundleStore(files, "cache", tiny.layout(), 1 << 20));
  }

  @AfterEach
  void close() {
    store.close();
    tiny.close();
  }

  private PrefillRunner runner(PrefillMode mode) {
    PrefillOptions options = new PrefillOptions(mode, 200, 3, IoRate.unlimited());
    return new PrefillRunner(tiny.model, store, store.snapshot(), options);
  }

  /** Computes the prompt and stores all of it. */
  private Bits computeAndStore() {
    try (PrefillRunner runner = runner(PrefillMode.COMPUTE);
        ChunkWriter writer = store.writer()) {
      PrefillResult result = runner.run(PROMPT);
      assertThat(result.computed()).isEqualTo(PROMPT.length);
      assertThat(runner.write(writer, 0, 100)).isEqualTo(CHUNKS);
      writer.finish();
      return Bits.of(runner, result);
    }
  }

  /** Loads chunks from {@code split} on, computes those before. */
  private static Claims splitAt(int split) {
    return new Claims() {
      @Override
      public boolean mayLoad(int chunk) {
        return chunk >= split;
      }

      @Override
      public boolean mayCompute(int chunk) {
        return chunk < split;
      }
    };
  }

  private void assertEverySplitGivesTheSameBits() {
    Bits computed = computeAndStore();
    for (int split = 0; split <= CHUNKS; split++) {
      try (PrefillRunner runner = runner(PrefillMode.CAKE)) {
        PrefillResult result = runner.run(PROMPT, splitAt(split));
        assertThat(result.loaded()).isEqualTo((CHUNKS - split) * CHUNK);
        assertThat(result.computed()).isEqualTo(PROMPT.length - result.loaded());
        assertThat(result.problems()).isEmpty();
        computed.assertSame(Bits.of(runner, result));
      }
    }
    for (PrefillMode mode : PrefillMode.values()) {
      try (PrefillRunner runner = runner(mode)) {
        PrefillResult result = runner.run(PROMPT);
        computed.assertSame(Bits.of(runner, result));
        assertThat(result.ttftNanos()).isPositive();
        if (mode != PrefillMode.CAKE) {
          assertThat(result.loaded()).isEqualTo(mode == PrefillMode.LOAD ? CHUNKS * CHUNK : 0);
        }
      }
    }
  }

  @Test
  void everySplitOfADenseModelGivesTheSameBits() {
    assertEverySplitGivesTheSameBits();
  }

  @Test
  void everySplitOfASparseModelGivesTheSameBits() {
    close();
    open(new TinyModel(TinyModel.sparse()));
    assertEverySplitGivesTheSameBits();
  }

  @ParameterizedTest
  @CsvSource({"BF16, false", "BF16, true", "F16, false", "F16, true"})
  void everySplitInSixteenBitsGivesTheSameBits(DType type, boolean sparse) {
    close();
    open(new TinyModel(sparse ? TinyModel.sparse() : TinyModel.dense(), new RoundingBackend(type)));
    assertEverySplitGivesTheSameBits();
    assertThat(tiny.layout().rowBytes()).isEqualTo(2 * 2 * 8);
  }

  /** One folder serves devices of several types: each finds its own, and computes what it lacks. */
  @Test
  void aCacheOfAnotherTypeIsAMiss() {
    Bits inF32 = computeAndStore();
    TinyModel wide = tiny;
    TrickStore wideStore = store;
    open(new TinyModel(TinyModel.dense(), new RoundingBackend(DType.BF16)));
    try (PrefillRunner runner = runner(PrefillMode.LOAD)) {
      PrefillResult result = runner.run(PROMPT);
      assertThat(result.loaded()).isZero();
      assertThat(result.problems()).isEmpty();
      Bits computed = Bits.of(runner, result);
      assertThat(computed.kv()).hasSize(inF32.kv().length / 2);
      computeAndStore().assertSame(computed);
    }
    try (PrefillRunner runner = runner(PrefillMode.LOAD)) {
      assertThat(runner.run(PROMPT).loaded()).isEqualTo(CHUNKS * CHUNK);
    }
    close();
    tiny = wide;
    store = wideStore;
    try (PrefillRunner runner = runner(PrefillMode.LOAD)) {
      PrefillResult result = runner.run(PROMPT);
      assertThat(result.loaded()).isEqualTo(CHUNKS * CHUNK);
      inF32.assertSame(Bits.of(runner, result));
    }
  }

  @Test
  void logitsInSixteenBitsAreCloseToThoseOfF32() {
    float[] exact;
    try (PrefillRunner runner = runner(PrefillMode.COMPUTE)) {
      exact = runner.run(PROMPT).logits();
    }
    double size = size(exact);
    close();
    open(new TinyModel(TinyModel.dense(), new RoundingBackend(DType.BF16)));
    try (PrefillRunner runner = runner(PrefillMode.COMPUTE)) {
      PrefillResult result = runner.run(PROMPT);
      double difference = 0;
      for (int i = 0; i < exact.length; i++) {
        difference += Math.pow(result.logits()[i] - exact[i], 2);
      }
      // A few units of 2^-8: one for each of some ten ops behind one another, added as errors are.
      assertThat(Math.sqrt(difference / exact.length)).isBetween(1e-5 * size, 0.03 * size);
      assertThat(result.hidden()).hasSize(32);
    }
  }

  private static double size(float[] values) {
    double squares = 0;
    for (float value : values) {
      squares += (double) value * value;
    }
    return Math.sqrt(squares / values.length);
  }

  @Test
  void aStoreInAnotherTypeThanTheModelIsRefused() {
    KvLayout layout = Layouts.of(tiny.model.config(), DType.BF16, "5a".repeat(32), CHUNK);
    try (BundleStore other = new BundleStore(files, "cache", layout, 1 << 20)) {
      PrefillOptions options = PrefillOptions.of(PrefillMode.LOAD, 200);
      assertThatThrownBy(() -> new PrefillRunner(tiny.model, other, other.snapshot(), options))
          .hasMessageContainingAll("KV in BF16", "computes in F32");
    }
  }

  /** Where there is no memory for a read, whoever waits for its chunk computes it. */
  @Test
  void anErrorOfAReaderIsAMiss() {
    Bits computed = computeAndStore();
    store.loads =
        (chunk, into) -> {
          throw new OutOfMemoryError("injected");
        };
    try (PrefillRunner runner = runner(PrefillMode.LOAD)) {
      PrefillResult result = runner.run(PROMPT);
      computed.assertSame(Bits.of(runner, result));
      assertThat(result.problems()).hasSize(CHUNKS);
      assertThat(result.problems().get(0)).contains("OutOfMemoryError: injected");
    }
  }

  /** The comparison above can fail: KV of another position gives other logits. */
  @Test
  void aChunkInAWrongPlaceChangesTheLogits() {
    Bits computed = computeAndStore();
    PrefixKey[] keys = PrefixKey.chain(tiny.layout(), PROMPT);
    StoredChunk[] chunks = store.snapshot().find(tiny.layout(), keys, CHUNKS, PROMPT);
    store.loads =
        (chunk, into) -> store.store.load(chunk.equals(chunks[5]) ? chunks[6] : chunk, into);
    try (PrefillRunner runner = runner(PrefillMode.LOAD)) {
      assertThat(Bits.of(runner, runner.run(PROMPT)).logits()).isNotEqualTo(computed.logits());
    }
  }

  @Test
  void whatThePromptBeforeLeftInMemoryIsNotComputedAgain() {
    int[] other = PROMPT.clone();
    other[10 * CHUNK + 4] = (other[10 * CHUNK + 4] + 1) % TinyModel.VOCABULARY;
    Bits alone;
    try (PrefillRunner runner = runner(PrefillMode.COMPUTE)) {
      alone = Bits.of(runner, runner.run(other));
    }
    try (PrefillRunner runner = runner(PrefillMode.COMPUTE)) {
      runner.run(PROMPT);
      PrefillResult result = runner.run(other);
      assertThat(result.reused()).isEqualTo(10 * CHUNK);
      assertThat(result.computed()).isEqualTo(other.length - 10 * CHUNK);
      alone.assertSame(Bits.of(runner, result));
      PrefillResult again = runner.run(other);
      assertThat(again.reused()).isEqualTo(other.length);
      assertThat(again.computed()).isZero();
      alone.assertSame(Bits.of(runner, again));
    }
  }

  /** Its last chunk must be computed for the logits, as a whole to keep the bits. */
  @Test
  void aPromptOfWholeChunksComputesItsLast() {
    computeAndStore();
    int[] whole = Arrays.copyOf(PROMPT, 6 * CHUNK);
    try (PrefillRunner loads = runner(PrefillMode.LOAD);
        PrefillRunner computes = runner(PrefillMode.COMPUTE);
        ChunkWriter writer = store.writer()) {
      PrefillResult result = loads.run(whole);
      assertThat(result.loaded()).isEqualTo(5 * CHUNK);
      assertThat(result.computed()).isEqualTo(CHUNK);
      Bits.of(computes, computes.run(whole)).assertSame(Bits.of(loads, result));
      assertThat(loads.write(writer, 0, 6)).as("stored already").isZero();
      int[] one = {5};
      assertThat(loads.run(one).computed()).isEqualTo(1);
    }
  }

  @Test
  void aDamagedChunkIsComputedAndWrittenAgain() {
    Bits computed = computeAndStore();
    Map.Entry<String, byte[]> file = files.contents.entrySet().iterator().next();
    byte[] bad = file.getValue().clone();
    bad[bad.length / 3] ^= 4;
    CacheSnapshot before = store.snapshot();
    files.contents.put(file.getKey(), bad);
    store.close();
    PrefillOptions options = PrefillOptions.of(PrefillMode.LOAD, 200);
    try (PrefillRunner runner = new PrefillRunner(tiny.model, store, before, options);
        ChunkWriter writer = store.writer()) {
      PrefillResult result = runner.run(PROMPT);
      computed.assertSame(Bits.of(runner, result));
      assertThat(result.loaded()).isEqualTo((CHUNKS - 1) * CHUNK);
      assertThat(result.problems()).hasSize(1);
      assertThat(result.problems().get(0)).contains("DAMAGED").contains("checksum");
      assertThat(runner.write(writer, 0, CHUNKS)).isEqualTo(1);
    }
  }

  @Test
  void aStoreThatOnlyFailsCostsNoAnswer() {
    Bits computed = computeAndStore();
    store.loads =
        (chunk, into) -> {
          throw new IllegalStateException("injected: load");
        };
    try (PrefillRunner runner = runner(PrefillMode.LOAD)) {
      PrefillResult result = runner.run(PROMPT);
      computed.assertSame(Bits.of(runner, result));
      assertThat(result.loaded()).isZero();
      assertThat(result.problems()).hasSize(CHUNKS).allMatch(p -> p.contains("injected: load"));
    }
  }

  @Test
  void aHoleInTheStoreIsFilledByComputing() {
    Bits computed = computeAndStore();
    PrefixKey[] keys = PrefixKey.chain(tiny.layout(), PROMPT);
    CacheSnapshot holes = store.snapshot().only(k -> !k.equals(keys[3]) && !k.equals(keys[19]));
    PrefillOptions options = PrefillOptions.of(PrefillMode.LOAD, 200);
    try (PrefillRunner runner = new PrefillRunner(tiny.model, store, holes, options)) {
      PrefillResult result = runner.run(PROMPT);
      assertThat(result.loaded()).isEqualTo((CHUNKS - 2) * CHUNK);
      computed.assertSame(Bits.of(runner, result));
    }
  }

  /** Scoring one token after the other is running the longer prompt. */
  @Test
  void aLabelScoresAsItsTokensWould() {
    int[] label = {11, 22, 33};
    int[] longer = Arrays.copyOf(PROMPT, PROMPT.length + 3);
    System.arraycopy(label, 0, longer, PROMPT.length, 3);
    try (PrefillRunner runner = runner(PrefillMode.COMPUTE)) {
      double expected = 0;
      for (int i = 0; i < 3; i++) {
        PrefillResult step = runner.run(Arrays.copyOf(longer, PROMPT.length + i));
        expected += LogProbabilities.of(step.logits(), label[i]);
      }
      PrefillResult result = runner.run(PROMPT);
      Bits before = Bits.of(runner, result);
      double[] scores = runner.score(new int[][] {label, {label[0]}});
      assertThat(scores[0]).isCloseTo(expected, within(1e-4));
      assertThat(scores[1]).isEqualTo(LogProbabilities.of(result.logits(), label[0]));
      before.assertSame(Bits.of(runner, result));
    }
  }

  @Test
  void aBadTokenFailsItsPromptOnly() {
    Bits computed = computeAndStore();
    int[] bad = PROMPT.clone();
    bad[70] = 300;
    try (PrefillRunner runner = runner(PrefillMode.CAKE)) {
      assertThatThrownBy(() -> runner.run(bad)).hasMessageContaining("Token 300 at position 70");
      computed.assertSame(Bits.of(runner, runner.run(PROMPT)));
      assertThatThrownBy(() -> runner.run(new int[201])).hasMessageContaining("1 to 200 tokens");
      assertThatThrownBy(() -> runner.run(new int[0])).hasMessageContaining("found 0");
    }
  }
}

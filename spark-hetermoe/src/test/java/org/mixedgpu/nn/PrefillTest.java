package org.mixedgpu.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

class PrefillTest {
  private static final int TOKENS = 40;
  private static final int CHUNK = 10;

  private TrainingBackend b;

  @BeforeEach
  void open() {
    b = Backends.cpu(CpuOptions.allCores());
  }

  @AfterEach
  void close() {
    b.close();
  }

  /** A chunk over loaded rows has the bits that it has over computed rows: cake relies on it. */
  @ParameterizedTest
  @EnumSource(ModelFamily.class)
  void aChunkOverACopiedCacheHasTheSameBits(ModelFamily family) {
    checkCopiedCache(b, family);
  }

  @ParameterizedTest
  @EnumSource(names = {"BF16", "F16"})
  void soHasAChunkInSixteenBits(DType type) {
    try (TrainingBackend narrow = new RoundingBackend(type)) {
      checkCopiedCache(narrow, ModelFamily.QWEN3);
      checkCopiedCache(narrow, ModelFamily.QWEN2_MOE);
    }
  }

  private static void checkCopiedCache(TrainingBackend b, ModelFamily family) {
    ModelConfig config = TinyModels.of(family);
    int[] ids = TinyModels.tokens(TOKENS, config.vocab(), 3);
    try (Parameters p = TinyModels.parameters(b, config, 5);
        DecoderModel model = DecoderModel.open(b, config, p, TOKENS);
        KvCache computed = model.cache(TOKENS);
        DecoderModel other = DecoderModel.open(b, config, p, TOKENS);
        KvCache loaded = other.cache(TOKENS);
        Tensor hidden = b.allocate(b.computeType(), Shape.of(1, config.hidden()));
        Tensor otherHidden = b.allocate(b.computeType(), Shape.of(1, config.hidden()))) {
      for (int first = 0; first < TOKENS; first += CHUNK) {
        model.prefill(ids, first, CHUNK, computed, hidden);
      }
      for (int split = CHUNK; split < TOKENS; split += CHUNK) {
        for (int layer = 0; layer < config.layers(); layer++) {
          b.fill(loaded.keys(layer), Float.NaN);
          b.fill(loaded.values(layer), Float.NaN);
          b.copy(loaded.keys(layer).rows(0, split), computed.keys(layer).rows(0, split));
          b.copy(loaded.values(layer).rows(0, split), computed.values(layer).rows(0, split));
        }
        for (int first = split; first < TOKENS; first += CHUNK) {
          other.prefill(ids, first, CHUNK, loaded, otherHidden);
        }
        for (int layer = 0; layer < config.layers(); layer++) {
          assertSameBits(b, loaded.keys(layer), computed.keys(layer));
          assertSameBits(b, loaded.values(layer), computed.values(layer));
        }
        assertSameBits(b, otherHidden, hidden);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(ModelFamily.class)
  void chunksAgreeWithOnePieceAndTheLastRowsWithAllRows(ModelFamily family) {
    ModelConfig config = TinyModels.of(family);
    int[] ids = TinyModels.tokens(TOKENS, config.vocab(), 3);
    try (Parameters p = TinyModels.parameters(b, config, 5);
        DecoderModel model = DecoderModel.open(b, config, p, TOKENS);
        KvCache cache = model.cache(TOKENS);
        Tensor all = b.allocate(DType.F32, Shape.of(TOKENS, config.hidden()));
        Tensor last = b.allocate(DType.F32, Shape.of(3, config.hidden()))) {
      model.prefill(ids, 0, TOKENS, cache, all);
      float[] keys = Floats.read(b, cache.keys(config.layers() - 1));
      model.prefill(ids, 0, 17, cache, null);
      model.prefill(ids, 17, TOKENS - 17, cache, last);
      assertClose(Floats.read(b, last), Floats.read(b, all.rows(TOKENS - 3, 3)));
      assertClose(Floats.read(b, cache.keys(config.layers() - 1)), keys);
    }
  }

  @Test
  void laterTokensDoNotChangeEarlierOnes() {
    ModelConfig config = TinyModels.of(ModelFamily.QWEN3_MOE);
    int[] ids = TinyModels.tokens(TOKENS, config.vocab(), 3);
    try (Parameters p = TinyModels.parameters(b, config, 5);
        DecoderModel model = DecoderModel.open(b, config, p, TOKENS);
        KvCache cache = model.cache(TOKENS);
        Tensor hidden = b.allocate(DType.F32, Shape.of(TOKENS, config.hidden()))) {
      model.prefill(ids, 0, TOKENS, cache, hidden);
      float[] before = Floats.read(b, hidden);
      ids[30] = (ids[30] + 1) % config.vocab();
      model.prefill(ids, 0, TOKENS, cache, hidden);
      float[] after = Floats.read(b, hidden);
      int same = 30 * config.hidden();
      // Not the same bits: the place of a row among those of its expert picks the BLAS kernel.
      assertClose(Arrays.copyOf(after, same), Arrays.copyOf(before, same));
      assertThat(Math.abs(after[same] - before[same])).isGreaterThan(1e-2f);
    }
  }

  @Test
  void tokensOutsideTheVocabularyAndPositionsOutsideTheCacheAreRefused() {
    ModelConfig config = TinyModels.of(ModelFamily.LLAMA);
    try (Parameters p = TinyModels.parameters(b, config, 5);
        DecoderModel model = DecoderModel.open(b, config, p, TOKENS);
        KvCache cache = model.cache(8)) {
      assertThatThrownBy(() -> model.prefill(new int[] {1, 61}, 0, 2, cache, null))
          .hasMessage("Token 61 at position 1 is not in a vocabulary of 61");
      assertThatThrownBy(() -> model.prefill(new int[9], 0, 9, cache, null))
          .hasMessageContaining("the cache has 8, the model 40");
    }
  }

  private static void assertSameBits(TrainingBackend b, Tensor ours, Tensor theirs) {
    assertThat(Arrays.equals(Floats.read(b, ours), Floats.read(b, theirs)))
        .as("same bits")
        .isTrue();
  }

  private static void assertClose(float[] ours, float[] theirs) {
    assertThat(ours).hasSameSizeAs(theirs);
    for (int i = 0; i < ours.length; i++) {
      assertThat((double) ours[i]).isCloseTo(theirs[i], within(2e-4));
    }
  }
}

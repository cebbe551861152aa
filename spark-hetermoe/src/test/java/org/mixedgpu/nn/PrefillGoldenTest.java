package org.mixedgpu.nn;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.safetensors.Safetensors;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** Logits, keys and values against Hugging Face transformers, in one piece and in chunks. */
class PrefillGoldenTest {
  private static final double TOLERANCE = 1e-4;

  @ParameterizedTest
  @MethodSource("org.mixedgpu.nn.Golden#cases")
  void logitsAndCacheAgreeWithTransformers(String name) {
    check(new GoldenCase(name), Integer.MAX_VALUE);
  }

  @ParameterizedTest
  @MethodSource("org.mixedgpu.nn.Golden#cases")
  void chunksAgreeWithTransformers(String name) {
    check(new GoldenCase(name), 48);
  }

  private static void check(GoldenCase golden, int chunk) {
    int[][] ids = golden.tokens("input_ids");
    try (TrainingBackend b = Backends.cpu(CpuOptions.allCores());
        Parameters p =
            Checkpoint.load(GoldenCase.FILES, golden.folder().toString(), b, Part.all());
        DecoderModel model = DecoderModel.open(b, p.config(), p, ids[0].length);
        KvCache cache = model.cache(ids[0].length);
        Safetensors expected = golden.golden()) {
      for (int i = 0; i < ids.length; i++) {
        float[] logits = logits(b, model, cache, ids[i], chunk);
        float[] all = expected.floats("logits");
        assertClose("logits of sequence " + i, logits, all, i * logits.length);
        for (int layer = 0; layer < cache.layers(); layer++) {
          assertCache(b, cache.keys(layer), expected.floats("k." + layer), i, p.config());
          assertCache(b, cache.values(layer), expected.floats("v." + layer), i, p.config());
        }
      }
    }
  }

  private static float[] logits(
      TrainingBackend b, DecoderModel model, KvCache cache, int[] ids, int chunk) {
    int hidden = model.config().hidden();
    try (Tensor out = b.allocate(DType.F32, Shape.of(ids.length, hidden));
        Tensor logits = b.allocate(DType.F32, Shape.of(ids.length, model.config().vocab()))) {
      for (int first = 0; first < ids.length; first += Math.min(chunk, ids.length)) {
        int count = Math.min(chunk, ids.length - first);
        model.prefill(ids, first, count, cache, out.rows(first, count));
      }
      model.logits(logits, out);
      return Floats.read(b, logits);
    }
  }

  /** Ours is [T, heads·D], theirs [B, heads, T, D]. */
  private static void assertCache(
      TrainingBackend b, Tensor cache, float[] theirs, int sequence, ModelConfig config) {
    float[] ours = Floats.read(b, cache);
    int positions = (int) cache.shape().rows();
    int dim = config.headDim();
    float[] same = new float[ours.length];
    for (int head = 0; head < config.kvHeads(); head++) {
      for (int t = 0; t < positions; t++) {
        int from = ((sequence * config.kvHeads() + head) * positions + t) * dim;
        System.arraycopy(theirs, from, same, (t * config.kvHeads() + head) * dim, dim);
      }
    }
    assertClose("cache", ours, same, 0);
  }

  private static void assertClose(String what, float[] ours, float[] theirs, int offset) {
    double worst = 0;
    for (int i = 0; i < ours.length; i++) {
      worst = Math.max(worst, Math.abs((double) ours[i] - theirs[offset + i]));
    }
    assertThat(worst).as("largest difference of %s", what).isLessThan(TOLERANCE);
  }
}

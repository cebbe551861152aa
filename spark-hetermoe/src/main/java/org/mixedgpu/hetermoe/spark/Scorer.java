package org.mixedgpu.hetermoe.spark;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * How well a model predicts a text: the mean log-likelihood of its tokens, each given those before
 * it. Works through a text in chunks, so memory beside the KV cache does not grow with it. Does not
 * own the model. One thread at a time.
 */
final class Scorer {
  /** Rows of logits that exist at once. */
  private static final int CHUNK = 256;

  private final Backend backend;
  private final DecoderModel model;
  private final ModelConfig config;

  Scorer(Backend backend, DecoderModel model) {
    this.backend = backend;
    this.model = model;
    this.config = model.config();
  }

  /**
   * Mean of ln p(token) over all tokens but the first, which nothing precedes.
   *
   * @param ids 2 or more, at most the model's positions
   */
  double meanLogLikelihood(int[] ids) {
    Check.input(
        ids.length >= 2 && ids.length <= config.maxPositions(),
        "A text of %d tokens can't be scored; the model takes 2 to %d",
        ids.length,
        config.maxPositions());
    int predicted = ids.length - 1;
    int rows = Math.min(CHUNK, predicted);
    DType type = backend.computeType();
    double sum = 0;
    try (KvCache cache = model.cache(predicted);
        Tensor hidden = backend.allocate(type, Shape.of(rows, config.hidden()));
        Tensor logits = backend.allocate(type, Shape.of(rows, config.vocab()));
        Tensor targets = backend.allocate(DType.I32, Shape.of(rows));
        Tensor losses = backend.allocate(DType.F32, Shape.of(rows))) {
      for (int first = 0; first < predicted; first += rows) {
        int count = Math.min(rows, predicted - first);
        model.prefill(ids, first, count, cache, hidden.rows(0, count));
        model.logits(logits.rows(0, count), hidden.rows(0, count));
        backend.write(targets.rows(0, count), targets(ids, first, count));
        backend.crossEntropy(
            losses.rows(0, count), null, logits.rows(0, count), targets.rows(0, count), 1);
        sum += sum(losses.rows(0, count), count);
      }
    }
    return -sum / predicted;
  }

  private static ByteBuffer targets(int[] ids, int first, int count) {
    ByteBuffer bytes = buffer(count);
    for (int i = 0; i < count; i++) {
      bytes.putInt(ids[first + i + 1]);
    }
    return bytes.flip();
  }

  private double sum(Tensor losses, int count) {
    ByteBuffer bytes = buffer(count);
    backend.read(bytes, losses);
    bytes.flip();
    double sum = 0;
    for (int i = 0; i < count; i++) {
      sum += bytes.getFloat();
    }
    return sum;
  }

  private static ByteBuffer buffer(int count) {
    return ByteBuffer.allocateDirect(count * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
  }
}

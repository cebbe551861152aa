package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.Tensor;

/**
 * Inference with a whole model on one backend. Not thread-safe: one prefill at a time. Does not own
 * the parameters.
 */
public final class DecoderModel implements AutoCloseable {

  private DecoderModel() {}

  /**
   * @param parameters of the whole model, on this backend
   * @param maxPositions longest sequence to be computed
   */
  public static DecoderModel open(
      Backend backend, ModelConfig config, Parameters parameters, int maxPositions) {
    throw new UnsupportedOperationException();
  }

  public ModelConfig config() {
    throw new UnsupportedOperationException();
  }

  /** A cache for one sequence; the caller closes it. */
  public KvCache cache(int capacity) {
    throw new UnsupportedOperationException();
  }

  /**
   * Computes tokens [first, first + count), given that the cache holds [0, first), and writes their
   * keys and values into the cache. Equal (first, count), tokens and cache bits give equal bits,
   * whoever computed the cache.
   *
   * @param tokens the sequence from position 0 on
   * @param hidden [n,H], n at most count: the last n rows after the final norm; null for none. The
   *     smaller n, the more of the last layer is saved.
   */
  public void prefill(int[] tokens, int first, int count, KvCache cache, Tensor hidden) {
    throw new UnsupportedOperationException();
  }

  /** logits [n,V] of hidden [n,H]. */
  public void logits(Tensor logits, Tensor hidden) {
    throw new UnsupportedOperationException();
  }

  @Override
  public void close() {
    throw new UnsupportedOperationException();
  }
}

package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Keys (after RoPE) and values of the first positions of one sequence, for every layer, in the
 * backend's compute type. Row p is position p. Owns its tensors.
 */
public final class KvCache implements AutoCloseable {
  private final Tensor[] keys;
  private final Tensor[] values;
  private final int capacity;

  public KvCache(Backend backend, ModelConfig config, int capacity) {
    Check.input(capacity > 0, "A KV cache needs a positive capacity; found %d", capacity);
    this.capacity = capacity;
    this.keys = new Tensor[config.layers()];
    this.values = new Tensor[config.layers()];
    Shape shape = Shape.of(capacity, config.kvWidth());
    try {
      for (int layer = 0; layer < keys.length; layer++) {
        keys[layer] = backend.allocate(backend.computeType(), shape);
        values[layer] = backend.allocate(backend.computeType(), shape);
      }
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** [capacity, kvHeads·D]. */
  public Tensor keys(int layer) {
    return keys[layer];
  }

  /** [capacity, kvHeads·D]. */
  public Tensor values(int layer) {
    return values[layer];
  }

  public int layers() {
    return keys.length;
  }

  /** Positions there is room for. */
  public int capacity() {
    return capacity;
  }

  @Override
  public void close() {
    for (int layer = 0; layer < keys.length; layer++) {
      if (keys[layer] != null) {
        keys[layer].close();
      }
      if (values[layer] != null) {
        values[layer].close();
      }
    }
  }
}

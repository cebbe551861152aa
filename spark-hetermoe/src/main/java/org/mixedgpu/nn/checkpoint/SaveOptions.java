package org.mixedgpu.nn.checkpoint;

import java.io.Serializable;
import org.mixedgpu.base.Check;
import org.mixedgpu.nn.safetensors.StoredType;

/**
 * How weights are written.
 *
 * @param type F32, F16 or BF16, rounded to nearest even
 * @param maxShardBytes a larger model is written in several files; one tensor is never divided
 */
public record SaveOptions(StoredType type, long maxShardBytes) implements Serializable {
  public SaveOptions {
    Check.input(type.isFloat(), "Weights are stored as F32, F16 or BF16, not as %s", type);
    Check.input(
        maxShardBytes >= 1, "A shard has at least one byte; found the limit %d", maxShardBytes);
  }

  /** F32, shards of at most 4 GiB. */
  public static SaveOptions defaults() {
    return new SaveOptions(StoredType.F32, 4L << 30);
  }
}

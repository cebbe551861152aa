package org.mixedgpu.nn.checkpoint;

import java.io.Serializable;
import java.util.List;

/**
 * What one writer contributed to a checkpoint.
 *
 * @param file name in the folder
 * @param tensors names on disk
 * @param bytes of all these tensors
 */
public record SavedShard(String file, List<String> tensors, long bytes) implements Serializable {
  public SavedShard {
    tensors = List.copyOf(tensors);
  }
}

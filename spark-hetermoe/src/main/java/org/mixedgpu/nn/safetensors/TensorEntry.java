package org.mixedgpu.nn.safetensors;

import org.mixedgpu.tensor.Shape;

/**
 * Where a tensor lies in a safetensors file.
 *
 * @param offset first byte, from the start of the file
 */
public record TensorEntry(String name, StoredType type, Shape shape, long offset) {
  public long bytes() {
    return Math.multiplyExact(shape.elements(), type.bytes());
  }
}

package org.mixedgpu.backend.cuda;

import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** A tensor in a GPU's memory, or a view of one. */
final class CudaTensor implements Tensor {
  private final DType type;
  private final Shape shape;
  private final CudaBlock block;
  private final long offset;
  private final boolean owner;

  CudaTensor(DType type, Shape shape, CudaBlock block) {
    this(type, shape, block, 0, true);
  }

  private CudaTensor(DType type, Shape shape, CudaBlock block, long offset, boolean owner) {
    this.type = type;
    this.shape = shape;
    this.block = block;
    this.offset = offset;
    this.owner = owner;
  }

  @Override
  public DType type() {
    return type;
  }

  @Override
  public Shape shape() {
    return shape;
  }

  @Override
  public CudaTensor rows(long first, long count) {
    if (first < 0 || count < 0 || first > shape.rows() - count) {
      throw Check.badInput(
          "Rows %d to %d are outside of a tensor of shape %s", first, first + count, shape);
    }
    long start = offset + first * shape.rowElements() * type.bytes();
    return new CudaTensor(type, shape.withRows(count), block, start, false);
  }

  @Override
  public CudaTensor view(Shape other) {
    if (other.elements() != shape.elements()) {
      throw Check.badInput(
          "A tensor of shape %s cannot be viewed as %s: the numbers of elements differ",
          shape, other);
    }
    return new CudaTensor(type, other, block, offset, false);
  }

  /** Device address of the first element; valid until the allocated tensor is closed. */
  long pointer() {
    return block.address() + offset;
  }

  CudaBlock block() {
    return block;
  }

  @Override
  public void close() {
    if (owner) {
      block.free();
    }
  }

  @Override
  public String toString() {
    return type + shape.toString();
  }
}

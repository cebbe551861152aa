package org.mixedgpu.tensor;

import java.util.Arrays;
import org.mixedgpu.base.Check;

/** Extents of a dense row-major tensor, one or more dimensions, each zero or more. */
public final class Shape {
  private final long[] dims;

  /**
   * @param dims kept, not copied
   */
  private Shape(long[] dims) {
    for (long dim : dims) {
      if (dim < 0) {
        throw Check.badInput("Shape %s has a negative extent", Arrays.toString(dims));
      }
    }
    this.dims = dims;
  }

  public static Shape of(long... dims) {
    Check.input(dims.length > 0, "A shape needs at least one dimension");
    return new Shape(dims.clone());
  }

  public int rank() {
    return dims.length;
  }

  public long dim(int axis) {
    return dims[axis];
  }

  public long[] toArray() {
    return dims.clone();
  }

  /** The first dimension: what {@link Tensor#rows} slices. */
  public long rows() {
    return dims[0];
  }

  /** Elements of one row: the product of all dimensions but the first. */
  public long rowElements() {
    long product = 1;
    for (int i = 1; i < dims.length; i++) {
      product = Math.multiplyExact(product, dims[i]);
    }
    return product;
  }

  public long elements() {
    return Math.multiplyExact(dims[0], rowElements());
  }

  /** The same shape with another first dimension. */
  public Shape withRows(long rows) {
    long[] copy = dims.clone();
    copy[0] = rows;
    return new Shape(copy);
  }

  /** Whether one row of both is the same: all dimensions but the first. */
  public boolean hasRowsOf(Shape other) {
    return Arrays.equals(dims, 1, dims.length, other.dims, 1, other.dims.length);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Shape && Arrays.equals(dims, ((Shape) other).dims);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(dims);
  }

  @Override
  public String toString() {
    return Arrays.toString(dims);
  }
}

package org.mixedgpu.tensor;

import java.util.Arrays;
import org.mixedgpu.base.Check;

/** Extents of a dense row-major tensor, one or more dimensions, each zero or more. */
public final class Shape {
  private final long[] dims;

  private Shape(long[] dims) {
    this.dims = dims;
  }

  public static Shape of(long... dims) {
    Check.input(dims.length > 0, "A shape needs at least one dimension");
    for (long dim : dims) {
      Check.input(dim >= 0, "Shape %s has a negative extent", Arrays.toString(dims));
    }
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
    return of(copy);
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

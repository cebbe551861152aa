package org.mixedgpu.tensor;

/**
 * A dense row-major array on one device. Whoever allocates a tensor closes it; views ({@link
 * #rows}, {@link #view}) share its memory, own nothing, and closing one does nothing. A tensor must
 * outlive its views. Contents are reached only through the {@code Backend} that allocated it.
 *
 * <p>Threads: the handle is immutable; who may read and write the contents when is for the user's
 * events to order.
 */
public interface Tensor extends AutoCloseable {
  DType type();

  Shape shape();

  /** Rows {@code [first, first + count)} of the first dimension, as a view. */
  Tensor rows(long first, long count);

  /** The same elements in another shape of equal size, as a view. */
  Tensor view(Shape shape);

  default long bytes() {
    return shape().elements() * type().bytes();
  }

  /** Frees the memory of an allocated tensor; idempotent; nothing for a view. */
  @Override
  void close();
}

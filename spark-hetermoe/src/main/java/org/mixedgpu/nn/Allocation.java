package org.mixedgpu.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** The tensors of one object: all of them, or none where the memory does not suffice. */
final class Allocation implements AutoCloseable {
  private final Backend backend;
  private final List<Tensor> tensors = new ArrayList<>();

  private Allocation(Backend backend) {
    this.backend = backend;
  }

  /** Makes an object that allocates; what it has allocated is freed when it fails. */
  static <T> T of(Backend backend, Function<Allocation, T> object) {
    Allocation allocation = new Allocation(backend);
    try {
      return object.apply(allocation);
    } catch (RuntimeException e) {
      allocation.close();
      throw e;
    }
  }

  /** Of the backend's compute type. */
  Tensor reals(long... dims) {
    return allocate(backend.computeType(), dims);
  }

  /** F32, whatever the backend computes in. */
  Tensor floats(long... dims) {
    return allocate(DType.F32, dims);
  }

  Tensor ints(long... dims) {
    return allocate(DType.I32, dims);
  }

  private Tensor allocate(DType type, long... dims) {
    Tensor tensor = backend.allocate(type, Shape.of(dims));
    tensors.add(tensor);
    return tensor;
  }

  @Override
  public void close() {
    for (Tensor tensor : tensors) {
      tensor.close();
    }
  }
}

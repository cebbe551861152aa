package org.mixedgpu.backend;

import org.mixedgpu.base.Intercepted;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * A backend whose tensors can be reached through it only, as a GPU's: what moves tensors must ask
 * it to read and write them.
 */
public final class StagedBackend {
  private StagedBackend() {}

  private record Hidden(Tensor inner) implements Tensor {
    @Override
    public DType type() {
      return inner.type();
    }

    @Override
    public Shape shape() {
      return inner.shape();
    }

    @Override
    public Tensor rows(long first, long count) {
      return new Hidden(inner.rows(first, count));
    }

    @Override
    public Tensor view(Shape shape) {
      return new Hidden(inner.view(shape));
    }

    @Override
    public void close() {
      inner.close();
    }
  }

  /** The same arithmetic on hidden tensors; closing it closes the given one. */
  public static TrainingBackend over(TrainingBackend inner) {
    return Intercepted.over(
        TrainingBackend.class,
        inner,
        (method, shown, call) -> {
          for (int i = 0; i < shown.length; i++) {
            shown[i] = shown[i] instanceof Hidden hidden ? hidden.inner() : shown[i];
          }
          Object result = call.proceed();
          return result instanceof Tensor tensor ? new Hidden(tensor) : result;
        });
  }
}

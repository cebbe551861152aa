package org.mixedgpu.nn;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** RMS norm over groups of as many elements as the gain has, of each row one or more. */
final class Norm {
  private final String name;
  private final Tensor gain;
  private final float epsilon;

  Norm(Parameters parameters, String name, float epsilon) {
    this.name = name;
    this.gain = parameters.tensor(name);
    this.epsilon = epsilon;
  }

  /** Groups in this many rows of this width: the size of inverseRms. */
  long groups(long rows, long width) {
    return rows * (width / gain.shape().elements());
  }

  void forward(Backend b, Tensor out, Tensor inverseRms, Tensor x) {
    b.rmsNorm(grouped(out), inverseRms, grouped(x), gain, epsilon);
  }

  /** dX is overwritten and may be dOut. */
  void backward(
      TrainingBackend b, Tensor dX, Tensor dOut, Tensor x, Tensor inverseRms, Gradients grads) {
    b.rmsNormBackward(grouped(dX), grads.addend(name), grouped(dOut), grouped(x), gain, inverseRms);
  }

  private Tensor grouped(Tensor x) {
    long width = gain.shape().elements();
    return x.shape().rowElements() == width
        ? x
        : x.view(Shape.of(x.shape().elements() / width, width));
  }
}

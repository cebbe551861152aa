package org.mixedgpu.hetermoe.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** The global L2 norm of gradients. Owns a tensor of one element per parameter. */
public final class GradientNorm implements AutoCloseable {
  private final TrainingBackend backend;
  private final Tensor squares;

  /** The element of each parameter. */
  private final Tensor[] square;

  private final ByteBuffer host;

  /** For gradients by these parameters. */
  public GradientNorm(TrainingBackend backend, Parameters parameters) {
    this.backend = backend;
    this.squares = backend.allocate(DType.F32, Shape.of(parameters.size()));
    this.square = new Tensor[parameters.size()];
    Arrays.setAll(square, i -> squares.rows(i, 1));
    this.host =
        ByteBuffer.allocateDirect(parameters.size() * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
  }

  /**
   * The sum of all squares: of one member's gradients, to be added to the others' where parameters
   * are spread over members. Waits for the device.
   */
  public double squared(Parameters grads) {
    int i = 0;
    for (Parameters.Entry entry : grads.entries()) {
      backend.sumSquares(square[i], entry.tensor());
      i++;
    }
    backend.read(host.clear(), squares);
    double sum = 0;
    for (int j = 0; j < i; j++) {
      sum += host.getFloat(j * Float.BYTES);
    }
    return sum;
  }

  @Override
  public void close() {
    squares.close();
  }
}

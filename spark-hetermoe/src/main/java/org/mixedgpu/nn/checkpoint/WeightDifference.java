package org.mixedgpu.nn.checkpoint;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.Parameters;

/**
 * How far parameters are from a safetensors file.
 *
 * @param rms root of the mean squared difference over all elements
 * @param largest largest absolute difference; NaN where there is a NaN
 * @param worst the tensor, as named on disk, that it is in
 * @param shareWithin share of the elements that differ by at most the limit
 */
public record WeightDifference(double rms, double largest, String worst, double shareWithin) {

  /** Compares; the file must have exactly the tensors of the whole model. */
  public static WeightDifference of(
      FileStore files, String path, Backend backend, Parameters parameters, double limit) {
    Sums sums = new Sums();
    ByteBuffer buffer = Pieces.buffer();
    ByteBuffer other = Pieces.buffer();
    try (WeightFiles weights = WeightFiles.openFile(files, path)) {
      WeightReading.check(weights, path, parameters.config());
      for (DiskTensor tensor : DiskTensor.of(parameters.config(), parameters.part())) {
        WeightFiles.Located located = weights.tensors().get(tensor.name());
        Pieces.read(
            backend,
            parameters.exact(tensor.parameter()),
            tensor.firstElement(),
            tensor.shape().elements(),
            buffer,
            (piece, first) -> {
              other.clear().limit(piece.remaining());
              located.file().readFloats(located.entry(), first, other);
              other.flip().order(ByteOrder.LITTLE_ENDIAN);
              while (piece.hasRemaining()) {
                sums.add(Math.abs((double) piece.getFloat() - other.getFloat()), limit, tensor);
              }
            });
      }
    }
    if (sums.elements == 0) {
      throw new MixedGpuException(Fault.BAD_INPUT, "There are no weights to compare with " + path);
    }
    return new WeightDifference(
        Math.sqrt(sums.squares / sums.elements),
        sums.largest,
        sums.worst,
        (double) sums.within / sums.elements);
  }

  private static final class Sums {
    private double squares;
    private double largest;
    private String worst = "";
    private long within;
    private long elements;

    void add(double difference, double limit, DiskTensor tensor) {
      squares += difference * difference;
      elements++;
      within += difference <= limit ? 1 : 0;
      // NaN is never smaller, and stays.
      if (!(difference <= largest) && !Double.isNaN(largest)) {
        largest = difference;
        worst = tensor.name();
      }
    }
  }
}

package org.mixedgpu.nn.checkpoint;

import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.Map;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.nn.Parameters;

/** L2 norms under all names that transformers has for the same things. */
public final class NamedNorms {
  private static final String GATE = ".mlp.experts.gate_proj";

  private NamedNorms() {}

  /**
   * Norms of parameters or of their gradients: by the name in memory, which transformers 5 uses
   * too; by the name of every tensor on disk; and for gate and up matrices of a layer's experts,
   * which transformers 5 keeps in one tensor, under {@code gate_up_proj}.
   */
  public static Map<String, Double> of(Backend backend, Parameters parameters) {
    Map<String, Double> squares = new HashMap<>();
    ByteBuffer buffer = Pieces.buffer();
    for (DiskTensor tensor : DiskTensor.of(parameters.config(), parameters.part())) {
      double[] sum = new double[1];
      Pieces.read(
          backend,
          parameters.exact(tensor.parameter()),
          tensor.firstElement(),
          tensor.shape().elements(),
          buffer,
          (piece, first) -> {
            while (piece.hasRemaining()) {
              double value = piece.getFloat();
              sum[0] += value * value;
            }
          });
      squares.put(tensor.name(), sum[0]);
      if (!tensor.name().equals(tensor.parameter())) {
        squares.merge(tensor.parameter(), sum[0], Double::sum);
      }
    }
    Map<String, Double> norms = new HashMap<>();
    squares.forEach((name, square) -> norms.put(name, Math.sqrt(square)));
    squares.forEach(
        (name, square) -> {
          if (name.endsWith(GATE)) {
            String layer = name.substring(0, name.length() - "gate_proj".length());
            double up = squares.get(layer + "up_proj");
            norms.put(layer + "gate_up_proj", Math.sqrt(square + up));
          }
        });
    return norms;
  }
}

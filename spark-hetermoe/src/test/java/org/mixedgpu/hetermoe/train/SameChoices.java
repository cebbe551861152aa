package org.mixedgpu.hetermoe.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.tensor.Tensor;

/**
 * Makes the routers of one run choose what they chose in another, router call by router call. A
 * choice is a jump: where rounding changes one, the rest of the run is another run. Without such
 * jumps the difference of two runs is that of their arithmetic.
 */
final class SameChoices {
  private final List<Choice> choices = new ArrayList<>();

  /**
   * What a router chose.
   *
   * @param probs of all experts, row by row
   * @param experts the k chosen, row by row
   */
  private record Choice(float[] probs, int[] experts, int k) {
    int rows() {
      return experts.length / k;
    }

    /**
     * The most by which an expert was more probable that is chosen here and not in the other, by
     * these probabilities, than one that is chosen there and not here.
     */
    double closeness(int[] others) {
      double most = 0;
      for (int row = 0; row < rows(); row++) {
        most = Math.max(most, least(experts, row) - least(others, row));
      }
      return most;
    }

    private double least(int[] chosen, int row) {
      int all = probs.length / rows();
      double least = Double.MAX_VALUE;
      for (int j = row * k; j < (row + 1) * k; j++) {
        least = Math.min(least, probs[row * all + chosen[j]]);
      }
      return least;
    }

    /** As {@link TrainingBackend#routerTopK} defines them, for the others. */
    float[] weights(int[] others, boolean renormalise) {
      int all = probs.length / rows();
      float[] weights = new float[others.length];
      for (int row = 0; row < rows(); row++) {
        double sum = 0;
        for (int j = row * k; j < (row + 1) * k; j++) {
          weights[j] = probs[row * all + others[j]];
          sum += weights[j];
        }
        for (int j = row * k; renormalise && j < (row + 1) * k; j++) {
          weights[j] = (float) (weights[j] / sum);
        }
      }
      return weights;
    }
  }

  private interface AfterRouter {
    void run(int call, Tensor probs, Tensor weights, Tensor experts, boolean renormalise);
  }

  /** Remembers what is chosen on this backend; closing it closes the given one. */
  TrainingBackend recording(TrainingBackend inner) {
    return over(
        inner,
        (call, probs, weights, experts, renormalise) -> choices.add(choice(inner, probs, experts)));
  }

  /**
   * Chooses the same experts with this backend's probabilities; closing it closes the given one.
   *
   * @param own gets what it would have chosen
   */
  TrainingBackend repeating(TrainingBackend inner, SameChoices own) {
    return over(
        inner,
        (call, probs, weights, experts, renormalise) -> {
          int[] given = choices.get(call).experts;
          Choice chosen = choice(inner, probs, experts);
          Check.that(given.length == chosen.experts.length, "Another run: router call %d", call);
          own.choices.add(chosen);
          ByteBuffer bytes = host(experts);
          bytes.asIntBuffer().put(given);
          inner.write(experts, bytes);
          Floats.write(inner, weights, chosen.weights(given, renormalise));
        });
  }

  /** Router calls before the first that chose otherwise in the other run; all if none did. */
  int callsBeforeFork(SameChoices other) {
    int call = 0;
    while (call < choices.size() && closeness(other, call) == 0) {
      call++;
    }
    return call;
  }

  /** By how much what the other run chose in a call was less probable, to this one. */
  double closeness(SameChoices other, int call) {
    return choices.get(call).closeness(other.choices.get(call).experts);
  }

  int calls() {
    return choices.size();
  }

  private static Choice choice(TrainingBackend backend, Tensor probs, Tensor experts) {
    ByteBuffer bytes = host(experts);
    backend.read(bytes, experts);
    int[] chosen = new int[(int) experts.shape().elements()];
    bytes.flip().asIntBuffer().get(chosen);
    return new Choice(Floats.read(backend, probs), chosen, (int) experts.shape().dim(1));
  }

  private static ByteBuffer host(Tensor tensor) {
    return ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static TrainingBackend over(TrainingBackend inner, AfterRouter after) {
    int[] calls = new int[1];
    return Intercepted.over(
        TrainingBackend.class,
        inner,
        (method, arguments, call) -> {
          Object result = call.proceed();
          if (method.equals("routerTopK")) {
            after.run(
                calls[0]++,
                (Tensor) arguments[0],
                (Tensor) arguments[1],
                (Tensor) arguments[2],
                (Boolean) arguments[4]);
          }
          return result;
        });
  }
}

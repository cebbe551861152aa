package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.data.Offset.offset;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.nn.Gradients;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.TinyModels;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Gradients of whole models against differences of the loss. Each parameter tensor is moved along
 * its own gradient and along a fixed other direction; the slope must be what the gradient says.
 */
class GradientsTest {
  private static final int BATCH = 2;
  private static final int SEQUENCE = 8;
  private static final int ROWS = BATCH * SEQUENCE;

  private TrainingBackend backend;

  @BeforeEach
  void open() {
    backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  }

  @AfterEach
  void close() {
    backend.close();
  }

  /** One model with its loss as a function of its parameters. */
  private final class Loss implements AutoCloseable {
    final Parameters parameters;
    final Gradients grads;
    final LayerStack stack;
    final AuxLoss aux;
    final Tensor ids;
    final Tensor targets;
    final Tensor rowLoss = backend.allocate(DType.F32, Shape.of(ROWS));
    final int valid;
    List<Set<Integer>> home = List.of();
    boolean jumped;

    Loss(ModelConfig config, AuxLoss.Kind kind, long seed) {
      parameters = TinyModels.parameters(backend, config, seed);
      grads = Gradients.of(parameters);
      stack = LayerStack.allocate(backend, parameters, BATCH, SEQUENCE);
      aux = config.moe().isPresent() ? new AuxLoss(backend, config, kind, 1) : null;
      ids = Floats.ints(backend, TinyModels.tokens(ROWS, config.vocab(), 1));
      int[] next = TinyModels.tokens(ROWS, config.vocab(), 2);
      next[3] = -1;
      next[SEQUENCE - 1] = -1;
      targets = Floats.ints(backend, next);
      valid = (int) Arrays.stream(next).filter(t -> t >= 0).count();
    }

    double value() {
      stack.forward(ids, aux);
      double extra = aux == null ? 0 : aux.finish(1);
      stack.loss(rowLoss, targets);
      double sum = 0;
      for (float f : Floats.read(backend, rowLoss)) {
        sum += f;
      }
      return sum / valid + extra;
    }

    void differentiate() {
      grads.begin();
      stack.forward(ids, aux);
      if (aux != null) {
        aux.finish(1);
      }
      home = choices();
      stack.backward(rowLoss, ids, targets, 1f / valid, aux, grads);
    }

    /** Experts chosen in the last forward pass: while they stay, the loss is smooth. */
    List<Set<Integer>> choices() {
      List<Set<Integer>> choices = new ArrayList<>();
      for (int layer = 0; layer < parameters.config().layers(); layer++) {
        if (stack.routing(layer) != null) {
          int k = parameters.config().requireMoe().topK();
          float[] experts = Floats.read(backend, stack.routing(layer).experts());
          for (int row = 0; row < ROWS; row++) {
            Set<Integer> chosen = new HashSet<>();
            for (int j = 0; j < k; j++) {
              chosen.add(Float.floatToRawIntBits(experts[row * k + j]));
            }
            choices.add(chosen);
          }
        }
      }
      return choices;
    }

    /** How far the nearest change of a choice of experts is, in probability. */
    double margin() {
      stack.forward(ids, aux);
      double margin = 1;
      for (int layer = 0; layer < parameters.config().layers(); layer++) {
        if (stack.routing(layer) != null) {
          int experts = parameters.config().requireMoe().experts();
          int k = parameters.config().requireMoe().topK();
          float[] probs = Floats.read(backend, stack.routing(layer).probs());
          for (int row = 0; row < ROWS; row++) {
            float[] sorted = Arrays.copyOfRange(probs, row * experts, (row + 1) * experts);
            Arrays.sort(sorted);
            margin = Math.min(margin, sorted[experts - k] - sorted[experts - k - 1]);
          }
        }
      }
      return margin;
    }

    /** Slope of the loss along a direction, by a central difference of fourth order. */
    double slope(Tensor parameter, float[] at, float[] direction, double step) {
      jumped = false;
      double near = move(parameter, at, direction, step) - move(parameter, at, direction, -step);
      double far =
          move(parameter, at, direction, 2 * step) - move(parameter, at, direction, -2 * step);
      Floats.write(backend, parameter, at);
      return (8 * near - far) / (12 * step);
    }

    private double move(Tensor parameter, float[] at, float[] direction, double step) {
      float[] moved = new float[at.length];
      for (int i = 0; i < at.length; i++) {
        moved[i] = (float) (at[i] + step * direction[i]);
      }
      Floats.write(backend, parameter, moved);
      double value = value();
      jumped |= !choices().equals(home);
      return value;
    }

    @Override
    public void close() {
      parameters.close();
      grads.close();
      stack.close();
      if (aux != null) {
        aux.close();
      }
      ids.close();
      targets.close();
      rowLoss.close();
    }
  }

  @ParameterizedTest
  @EnumSource(ModelFamily.class)
  void gradientsOfEveryParameterAreSlopesOfTheLoss(ModelFamily family) {
    check(family, AuxLoss.Kind.HUGGING_FACE);
  }

  @Test
  void gradientsWithTheBalancingLossOfEachLayerAreSlopesOfTheLoss() {
    check(ModelFamily.OLMOE, AuxLoss.Kind.PER_LAYER);
  }

  private void check(ModelFamily family, AuxLoss.Kind kind) {
    try (Loss loss = smooth(TinyModels.of(family), kind)) {
      loss.differentiate();
      for (Parameters.Entry entry : loss.parameters.entries()) {
        float[] gradient = Floats.read(backend, loss.grads.total().tensor(entry.name()));
        float[] at = Floats.read(backend, entry.tensor());
        double norm = Math.sqrt(dot(gradient, gradient));
        assertThat(norm).as("norm of the gradient of %s", entry.name()).isGreaterThan(1e-5);
        compare(loss, entry, at, gradient, unit(gradient));
        float[] other = gradient.clone();
        for (int i = 0; i < other.length; i++) {
          other[i] = (i * 7 % 5 - 2 + 0.5f * (i % 3)) * (i % 2 == 0 ? 1 : -1);
        }
        compare(loss, entry, at, gradient, unit(other));
      }
    }
  }

  /** The first model whose choices of experts are clear enough to move around it. */
  private Loss smooth(ModelConfig config, AuxLoss.Kind kind) {
    for (long seed = 1; seed < 1000; seed++) {
      Loss loss = new Loss(config, kind, seed);
      if (loss.margin() > 3e-3) {
        return loss;
      }
      loss.close();
    }
    throw new AssertionError("no model with clear choices of experts");
  }

  private void compare(
      Loss loss, Parameters.Entry entry, float[] at, float[] gradient, float[] direction) {
    double norm = Math.sqrt(dot(gradient, gradient));
    // F32 losses are good to about 1e-6: a step over which the loss changes by about 1e-2.
    double step = Math.min(2e-2, 5e-3 / norm);
    double slope = loss.slope(entry.tensor(), at, direction, step);
    for (int i = 0; i < 4 && loss.jumped; i++) {
      step /= 3;
      slope = loss.slope(entry.tensor(), at, direction, step);
    }
    assertThat(loss.jumped).as("another choice of experts near %s", entry.name()).isFalse();
    assertThat(slope)
        .as("slope of the loss by %s", entry.name())
        .isCloseTo(dot(gradient, direction), offset(2e-3 * norm + 4e-7 / step));
  }

  private static float[] unit(float[] x) {
    double norm = Math.sqrt(dot(x, x));
    float[] unit = new float[x.length];
    for (int i = 0; i < x.length; i++) {
      unit[i] = (float) (x[i] / norm);
    }
    return unit;
  }

  private static double dot(float[] a, float[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += (double) a[i] * b[i];
    }
    return sum;
  }
}

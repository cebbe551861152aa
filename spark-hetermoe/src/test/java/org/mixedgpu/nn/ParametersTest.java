package org.mixedgpu.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.tensor.Shape;

class ParametersTest {

  @Test
  void anyPartitionOfTheExpertsGetsTheSameValues() {
    ModelConfig config = TinyModels.of(ModelFamily.QWEN2_MOE);
    int[][] ids = {{1, 4}, {}, {0, 5}};
    try (TrainingBackend b = Backends.cpu(CpuOptions.allCores());
        Parameters whole = Parameters.allocate(b, config, Part.all());
        Parameters some = Parameters.allocate(b, config, Part.experts(ids))) {
      whole.initialize(42);
      some.initialize(42);
      for (Parameters.Entry entry : some.entries()) {
        int layer = Integer.parseInt(entry.name().split("\\.")[2]);
        for (int i = 0; i < ids[layer].length; i++) {
          float[] ours = Floats.read(b, entry.tensor().rows(i, 1));
          float[] theirs = Floats.read(b, whole.tensor(entry.name()).rows(ids[layer][i], 1));
          assertThat(ours).isEqualTo(theirs);
        }
      }
      assertThat(some.size()).isEqualTo(6);
      assertThatThrownBy(() -> some.tensor("model.norm.weight"))
          .hasMessageContaining("No parameter model.norm.weight in this part");
    }
  }

  /** Direct memory is freed by the collector only, which does not know that it runs short. */
  @Test
  void allWeightsPassThroughOneBuffer() {
    Set<Object> buffers = Collections.newSetFromMap(new IdentityHashMap<>());
    try (TrainingBackend cpu = Backends.cpu(CpuOptions.allCores())) {
      TrainingBackend b =
          Intercepted.over(
              TrainingBackend.class,
              cpu,
              (method, arguments, call) -> {
                if (method.equals("write")) {
                  buffers.add(arguments[1]);
                }
                return call.proceed();
              });
      try (Parameters p =
          Parameters.allocate(b, TinyModels.of(ModelFamily.QWEN3_MOE), Part.all())) {
        p.initialize(1);
      }
    }
    assertThat(buffers).hasSize(1);
  }

  @Test
  void weightsAreNormalNormsOneAndBiasesZero() {
    ModelConfig config = TinyModels.of(ModelFamily.QWEN2);
    try (TrainingBackend b = Backends.cpu(CpuOptions.allCores());
        Parameters p = Parameters.allocate(b, config, Part.all())) {
      p.initialize(1);
      float[] table = Floats.read(b, p.tensor(ParameterNames.EMBEDDING));
      double sum = 0;
      double squares = 0;
      for (float x : table) {
        sum += x;
        squares += x * x;
        assertThat(Math.abs(x)).isLessThanOrEqualTo(3 * config.initializerRange() + 1e-5f);
      }
      assertThat(sum / table.length).isCloseTo(0, within(0.02));
      // The cut at three deviations takes 1.4 % of the deviation.
      assertThat(Math.sqrt(squares / table.length)).isCloseTo(0.2466, within(0.01));
      assertThat(Floats.read(b, p.tensor(ParameterNames.FINAL_NORM))).containsOnly(1f);
      assertThat(Floats.read(b, p.tensor("model.layers.0.self_attn.q_proj.bias"))).containsOnly(0f);
    }
  }

  @Test
  void theNormalQuantileAgreesWithTables() {
    assertThat(Initializer.normalQuantile(0.5)).isZero();
    assertThat(Initializer.normalQuantile(0.975)).isCloseTo(1.959963985, within(1e-6));
    assertThat(Initializer.normalQuantile(0.025)).isCloseTo(-1.959963985, within(1e-6));
    assertThat(Initializer.normalQuantile(0.6)).isCloseTo(0.253347103, within(1e-6));
    assertThat(Initializer.normalQuantile(0.00135)).isCloseTo(-2.999976992, within(1e-6));
  }

  @Test
  void tiedModelsHaveNoHeadOfTheirOwn() {
    ModelConfig config = TinyModels.of(ModelFamily.QWEN2);
    assertThat(ParameterShapes.of(config, Part.all()).get(ParameterNames.EMBEDDING))
        .isEqualTo(Shape.of(61, 24));
    assertThat(ParameterShapes.of(config, Part.all())).doesNotContainKey(ParameterNames.LM_HEAD);
  }
}

package org.mixedgpu.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;

/**
 * Values by hand; the derivatives are in GradientsTest, transformers' values in the golden runs.
 */
class AuxLossTest {
  private static final int ROWS = 8;

  /** Mixtral's three layers of four experts, top 2. */
  private static double loss(AuxLoss.Kind kind, float aux, float z, float[] logits) {
    ModelConfig config = TinyModels.of(ModelFamily.MIXTRAL).withLossCoefficients(aux, z);
    MoeConfig moe = config.requireMoe();
    try (TrainingBackend b = Backends.cpu(CpuOptions.allCores());
        Routing routing = Routing.allocate(b, ROWS, moe);
        AuxLoss loss = new AuxLoss(b, config, kind, 0.5f)) {
      Floats.write(b, routing.logits(), logits);
      b.routerTopK(routing.probs(), routing.weights(), routing.experts(), routing.logits(), true);
      b.sortByExpert(routing.slotOf(), routing.rowOf(), routing.offsets(), routing.experts());
      for (int layer = 0; layer < config.layers(); layer++) {
        loss.collect(layer, routing);
      }
      return loss.finish(1);
    }
  }

  @Test
  void equalProbabilitiesCostTopKOrOneForEachLayer() {
    float[] equal = new float[ROWS * 4];
    // Ties go to the first experts, yet f·P sums to k/E when all P are equal.
    assertThat(loss(AuxLoss.Kind.HUGGING_FACE, 0.1f, 0, equal)).isCloseTo(0.1, within(1e-6));
    assertThat(loss(AuxLoss.Kind.PER_LAYER, 0.1f, 0, equal)).isCloseTo(0.15, within(1e-6));
  }

  @Test
  void oneExpertForAllCostsNearlyAsManyTimesAsThereAreExperts() {
    float[] one = new float[ROWS * 4];
    for (int row = 0; row < ROWS; row++) {
      one[row * 4 + 2] = 30;
    }
    assertThat(loss(AuxLoss.Kind.HUGGING_FACE, 1, 0, one)).isCloseTo(0.5 * 4, within(1e-5));
    assertThat(loss(AuxLoss.Kind.PER_LAYER, 1, 0, one)).isCloseTo(0.5 * 3 * 2, within(1e-5));
  }

  @Test
  void theZLossIsTheMeanSquareOfTheLogSumExp() {
    float[] logits = new float[ROWS * 4];
    Arrays.fill(logits, 2);
    double square = Math.pow(2 + Math.log(4), 2);
    assertThat(loss(AuxLoss.Kind.HUGGING_FACE, 0, 0.1f, logits))
        .isCloseTo(0.5 * 0.1 * square, within(1e-6));
    assertThat(loss(AuxLoss.Kind.PER_LAYER, 0, 0.1f, logits))
        .isCloseTo(0.5 * 0.1 * 3 * square, within(1e-6));
  }

  @Test
  void withoutCoefficientsThereIsNoLoss() {
    assertThat(loss(AuxLoss.Kind.HUGGING_FACE, 0, 0, new float[ROWS * 4])).isZero();
  }
}

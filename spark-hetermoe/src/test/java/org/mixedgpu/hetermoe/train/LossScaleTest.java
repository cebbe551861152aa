package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

class LossScaleTest {
  private final LossScale scale = LossScale.of(DType.F16);

  @ParameterizedTest
  @EnumSource(names = {"F32", "BF16"})
  void outsideF16NothingIsScaledAndADivergedTrainingEnds(DType type) {
    LossScale none = LossScale.of(type);
    for (int step = 0; step < 2 * LossScale.GOOD_STEPS; step++) {
      assertThat(none.accept(1)).isTrue();
      assertThat(none.factor()).isEqualTo(1);
    }
    assertThatThrownBy(() -> none.accept(Double.NaN))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContainingAll("NaN", "diverged", "learning rate")
        .hasMessageNotContaining("F16");
  }

  @ParameterizedTest
  @ValueSource(doubles = {Double.NaN, Double.POSITIVE_INFINITY})
  void gradientsThatAreNotFiniteHalveIt(double norm) {
    assertThat(scale.factor()).isEqualTo(65536f);
    assertThat(scale.accept(norm)).isFalse();
    assertThat(scale.factor()).isEqualTo(32768f);
    assertThat(scale.accept(norm)).isFalse();
    assertThat(scale.factor()).isEqualTo(16384f);
    assertThat(scale.accept(1e30)).isTrue();
    assertThat(scale.factor()).isEqualTo(16384f);
  }

  @Test
  void manyGoodStepsInARowDoubleIt() {
    good(LossScale.GOOD_STEPS - 1);
    assertThat(scale.factor()).isEqualTo(65536f);
    good(1);
    assertThat(scale.factor()).isEqualTo(131072f);
    good(LossScale.GOOD_STEPS - 1);
    scale.accept(Double.NaN);
    assertThat(scale.factor()).isEqualTo(65536f);
    good(LossScale.GOOD_STEPS - 1);
    assertThat(scale.factor()).as("a bad step begins the row anew").isEqualTo(65536f);
    good(1);
    assertThat(scale.factor()).isEqualTo(131072f);
    good(20 * LossScale.GOOD_STEPS);
    assertThat(scale.factor()).isEqualTo(LossScale.MOST);
  }

  @Test
  void aTrainingThatHasDivergedIsToldSo() {
    for (int i = 0; i < 16; i++) {
      assertThat(scale.accept(Double.NaN)).isFalse();
    }
    assertThat(scale.factor()).isEqualTo(1);
    good(5);
    assertThatThrownBy(() -> scale.accept(Double.NaN))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContainingAll("NaN", "65504", "learning rate");
  }

  private void good(int steps) {
    for (int i = 0; i < steps; i++) {
      assertThat(scale.accept(0.5)).isTrue();
    }
  }
}

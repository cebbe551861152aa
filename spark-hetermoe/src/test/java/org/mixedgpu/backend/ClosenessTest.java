package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class ClosenessTest {
  private static final float[] EXPECTED = {1f, -2f, 0.001f, 4f};

  private static float[] with(int index, float value) {
    float[] copy = EXPECTED.clone();
    copy[index] = value;
    return copy;
  }

  @Test
  void equalAndNearlyEqualPass() {
    assertThatCode(() -> Closeness.check(EXPECTED.clone(), EXPECTED, 1, "x"))
        .doesNotThrowAnyException();
    assertThatCode(() -> Closeness.check(with(1, -2.0000002f), EXPECTED, 1, "x"))
        .doesNotThrowAnyException();
  }

  @Test
  void eachPlantedMismatchIsFound() {
    for (int i = 0; i < EXPECTED.length; i++) {
      int index = i;
      float planted = EXPECTED[i] + 1e-5f;
      assertThatThrownBy(() -> Closeness.check(with(index, planted), EXPECTED, 1, "x"))
          .isInstanceOf(AssertionError.class)
          .hasMessageContaining("1 of 4 elements differ; the worst, at " + index);
    }
  }

  @Test
  void longerSumsMayDifferMore() {
    float[] got = with(3, 4.00001f);
    assertThatThrownBy(() -> Closeness.check(got, EXPECTED, 1, "x"))
        .isInstanceOf(AssertionError.class);
    assertThatCode(() -> Closeness.check(got, EXPECTED, 10_000, "x")).doesNotThrowAnyException();
  }

  @Test
  void nanInfinityAndLengthAreFound() {
    assertThatThrownBy(() -> Closeness.check(with(0, Float.NaN), EXPECTED, 1, "x"))
        .hasMessageContaining("at 0, is NaN");
    assertThatThrownBy(
            () -> Closeness.check(with(0, Float.POSITIVE_INFINITY), EXPECTED, 1_000_000, "x"))
        .hasMessageContaining("at 0, is Inf");
    assertThatThrownBy(() -> Closeness.check(EXPECTED, with(2, Float.NaN), 1, "x"))
        .hasMessageContaining("expected NaN");
    assertThatThrownBy(() -> Closeness.check(new float[3], EXPECTED, 1, "x"))
        .hasMessageContaining("expected 4 elements, found 3");
  }

  @Test
  void zerosForNumbersAreFound() {
    assertThatThrownBy(() -> Closeness.check(new float[4], EXPECTED, 100, "x"))
        .hasMessageContaining("4 of 4");
  }
}

package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

class LogProbabilitiesTest {
  @Test
  void topIsDescendingWithTiesToTheLowerId() {
    float[] logits = {1, 5, 3, 5, -2, 5};
    assertThat(LogProbabilities.top(logits, 4)).containsExactly(1, 3, 5, 2);
    assertThat(LogProbabilities.top(logits, 1)).containsExactly(1);
    assertThat(LogProbabilities.top(logits, 0)).isEmpty();
    assertThat(LogProbabilities.top(logits, 99)).containsExactly(1, 3, 5, 2, 0, 4);
  }

  @Test
  void probabilitiesSumToOneAlsoForLargeLogits() {
    float[] logits = {10000, 10001, 9999};
    double sum = 0;
    for (int i = 0; i < 3; i++) {
      sum += Math.exp(LogProbabilities.of(logits, i));
    }
    assertThat(sum).isCloseTo(1, within(1e-12));
    assertThatThrownBy(() -> LogProbabilities.of(logits, 3)).hasMessageContaining("Token 3");
  }
}

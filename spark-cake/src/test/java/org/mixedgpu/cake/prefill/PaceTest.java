package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class PaceTest {
  @Test
  void nothingIsExpectedBeforeBothSidesWereSeen() {
    Pace pace = new Pace();
    pace.read(10, 10);
    assertThat(pace.loadsBeforeComputing(1)).isFalse();
    assertThat(pace.compute()).isZero();
  }

  @Test
  void aFastLinkBeatsComputingUntilThereIsTooMuchToLoad() {
    Pace pace = new Pace();
    pace.computed(100);
    pace.read(20, 10);
    assertThat(pace.loadsBeforeComputing(8)).isTrue();
    assertThat(pace.loadsBeforeComputing(9)).isFalse();
    for (int i = 0; i < 20; i++) {
      pace.read(200, 200);
    }
    assertThat(pace.loadsBeforeComputing(1)).isFalse();
  }
}

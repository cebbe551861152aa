package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class StagingTest {
  @Test
  void theLargestBufferIsReadInPartsToo() {
    int half = 16 << 20;
    assertThat(Staging.parts(0, half)).isZero();
    assertThat(Staging.parts(half, half)).isEqualTo(1);
    assertThat(Staging.parts(half + 1, half)).isEqualTo(2);
    assertThat(Staging.parts(Integer.MAX_VALUE, half)).isEqualTo(128);
  }
}

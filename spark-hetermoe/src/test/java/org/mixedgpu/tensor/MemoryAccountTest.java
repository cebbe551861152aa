package org.mixedgpu.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

class MemoryAccountTest {
  private final MemoryAccount account = new MemoryAccount("planted", 100);

  @Test
  void scratchMemoryFallsUnderTheLimitAndIsNoTensor() {
    account.scratch("workspace", 60);
    assertThat(account.bytes()).isZero();
    assertThatThrownBy(() -> account.open(DType.F32, Shape.of(11)))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED))
        .hasMessageContainingAll(
            "F32[11]", "44 bytes", "planted", "0 of 100 bytes", "60 bytes of scratch memory");
    MemoryAccount.Entry entry = account.open(DType.F32, Shape.of(10));
    assertThatThrownBy(() -> account.scratch("workspace", 1))
        .hasMessageContainingAll("workspace", "40 of 100 bytes", "1 tensors");
    assertThat(account.close(entry)).isTrue();
    assertThat(account.close(entry)).isFalse();
    account.scratch("workspace", -60);
    account.open(DType.F32, Shape.of(25));
    assertThat(account.peakBytes()).isEqualTo(100);
  }

  @Test
  void afterCloseNothingIsOpened() {
    assertThat(account.close()).isTrue();
    assertThat(account.close()).isFalse();
    assertThatThrownBy(() -> account.open(DType.F32, Shape.of(1)))
        .hasMessageContainingAll("F32[1]", "planted is closed");
  }
}

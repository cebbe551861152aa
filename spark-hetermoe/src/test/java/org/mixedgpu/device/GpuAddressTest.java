package org.mixedgpu.device;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class GpuAddressTest {
  @Test
  void anAddressNamesTheIndexWithOrWithoutTheGeneration() {
    assertThat(GpuAddress.index("0")).isZero();
    assertThat(GpuAddress.index("hopper-3")).isEqualTo(3);
    assertThat(GpuAddress.index(" 12 ")).isEqualTo(12);
    for (String other : new String[] {"", "GPU-5f3a", "hopper", "0,1", "-1"}) {
      assertThatThrownBy(() -> GpuAddress.index(other))
          .hasMessageContaining("'" + other + "'")
          .hasMessageContaining("0 or hopper-0");
    }
  }

  @Test
  void aTaskUsesTheFirstAddressOfItsGpus() {
    assertThat(GpuAddress.ofTask(Map.of("gpu-hopper", List.of("2", "0")))).hasValue(2);
    assertThat(GpuAddress.ofTask(Map.of("gpu", List.of("volta-1"), "fpga", List.of("f7"))))
        .hasValue(1);
    assertThat(GpuAddress.ofTask(Map.of("fpga", List.of("0"), "gpu", List.of()))).isEmpty();
    assertThat(GpuAddress.ofTask(Map.of())).isEmpty();
  }
}

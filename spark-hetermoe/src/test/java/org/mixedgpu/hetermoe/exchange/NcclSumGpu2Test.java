package org.mixedgpu.hetermoe.exchange;

import org.junit.jupiter.api.Tag;

@Tag("gpu2")
class NcclSumGpu2Test extends NcclSumContract {
  NcclSumGpu2Test() {
    super(TestNccl.ofTestDevices(), 2);
  }
}

package org.mixedgpu.hetermoe.exchange;

import org.junit.jupiter.api.Tag;

@Tag("gpu4")
class NcclSumGpu4Test extends NcclSumContract {
  NcclSumGpu4Test() {
    super(TestNccl.ofTestDevices(), 4);
  }
}

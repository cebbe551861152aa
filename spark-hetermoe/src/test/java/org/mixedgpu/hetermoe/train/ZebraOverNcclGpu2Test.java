package org.mixedgpu.hetermoe.train;

import org.junit.jupiter.api.Tag;
import org.mixedgpu.hetermoe.exchange.TestNccl;

@Tag("gpu2")
class ZebraOverNcclGpu2Test extends ZebraNcclContract {
  ZebraOverNcclGpu2Test() {
    super(TestNccl.ofTestDevices(), new int[][] {{1, 1}});
  }
}

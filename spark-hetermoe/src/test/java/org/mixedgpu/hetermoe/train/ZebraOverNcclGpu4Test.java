package org.mixedgpu.hetermoe.train;

import org.junit.jupiter.api.Tag;
import org.mixedgpu.hetermoe.exchange.TestNccl;

@Tag("gpu4")
class ZebraOverNcclGpu4Test extends ZebraNcclContract {
  ZebraOverNcclGpu4Test() {
    super(TestNccl.ofTestDevices(), new int[][] {{2, 1}, {1, 2}, {2, 2}});
  }
}

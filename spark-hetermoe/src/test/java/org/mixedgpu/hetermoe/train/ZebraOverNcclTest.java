package org.mixedgpu.hetermoe.train;

import org.mixedgpu.hetermoe.exchange.TestNccl;

class ZebraOverNcclTest extends ZebraNcclContract {
  ZebraOverNcclTest() {
    super(TestNccl.simulated(), new int[][] {{1, 1}, {2, 1}, {1, 2}, {2, 2}});
  }
}

package org.mixedgpu.hetermoe.exchange;

class NcclSumTest extends NcclSumContract {
  NcclSumTest() {
    super(TestNccl.simulated(), 3);
  }
}

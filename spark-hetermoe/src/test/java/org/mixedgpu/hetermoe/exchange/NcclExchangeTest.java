package org.mixedgpu.hetermoe.exchange;

class NcclExchangeTest extends NcclExchangeContract {
  NcclExchangeTest() {
    super(TestNccl.simulated());
  }
}

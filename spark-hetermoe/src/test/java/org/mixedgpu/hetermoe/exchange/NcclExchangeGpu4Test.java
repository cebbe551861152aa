package org.mixedgpu.hetermoe.exchange;

import org.junit.jupiter.api.Tag;

@Tag("gpu4")
class NcclExchangeGpu4Test extends NcclExchangeContract {
  NcclExchangeGpu4Test() {
    super(TestNccl.ofTestDevices());
  }

  @Override
  protected int several() {
    return 4;
  }
}

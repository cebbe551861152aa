package org.mixedgpu.hetermoe.exchange;

import org.junit.jupiter.api.Tag;

@Tag("gpu2")
class NcclExchangeGpu2Test extends NcclExchangeContract {
  NcclExchangeGpu2Test() {
    super(TestNccl.ofTestDevices());
  }

  @Override
  protected int several() {
    return 2;
  }
}

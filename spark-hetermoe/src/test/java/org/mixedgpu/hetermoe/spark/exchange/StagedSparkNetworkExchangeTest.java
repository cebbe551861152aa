package org.mixedgpu.hetermoe.spark.exchange;

import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.StagedBackend;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeContract;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;

/** Tensors that only their backend can read, as on a GPU. */
class StagedSparkNetworkExchangeTest extends ExchangeContract {
  @Override
  protected Backend open() {
    return StagedBackend.over(Backends.cpu(new CpuOptions(1, Long.MAX_VALUE)));
  }

  @Override
  protected List<? extends Exchange> connect(int size, Backend backend, ExchangeLimits limits) {
    return SparkNetworkExchangeTest.connect(size, backend, TransportOptions.plain(limits));
  }
}

package org.mixedgpu.hetermoe.spark.exchange;

import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.StagedBackend;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.exchange.HostExchangeContract;

/** Tensors that only their backend can read, as on a GPU. */
class StagedSparkNetworkExchangeTest extends HostExchangeContract {
  @Override
  protected Backend open(int rank) {
    return StagedBackend.over(Backends.cpu(new CpuOptions(1, Long.MAX_VALUE)));
  }

  @Override
  protected List<? extends Exchange> connect(List<Backend> backends, ExchangeLimits limits) {
    return SparkNetworkExchangeTest.connect(backends, TransportOptions.plain(limits));
  }
}

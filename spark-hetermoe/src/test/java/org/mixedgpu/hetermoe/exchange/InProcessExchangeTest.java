package org.mixedgpu.hetermoe.exchange;

import java.util.List;
import org.mixedgpu.backend.Backend;

class InProcessExchangeTest extends HostExchangeContract {
  @Override
  protected List<? extends Exchange> connect(List<Backend> backends, ExchangeLimits limits) {
    return InProcessExchange.group(backends, limits);
  }
}

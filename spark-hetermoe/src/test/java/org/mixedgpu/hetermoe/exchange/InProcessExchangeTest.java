package org.mixedgpu.hetermoe.exchange;

import java.util.Collections;
import java.util.List;
import org.mixedgpu.backend.Backend;

class InProcessExchangeTest extends ExchangeContract {
  @Override
  protected List<? extends Exchange> connect(int size, Backend backend, ExchangeLimits limits) {
    return InProcessExchange.group(Collections.nCopies(size, backend), limits);
  }
}

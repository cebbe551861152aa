package org.mixedgpu.hetermoe.exchange;

import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.DType;

/** The contract over NCCL, whose headers go through the exchange of threads. */
abstract class NcclExchangeContract extends ExchangeContract {
  private final TestNccl nccl;

  NcclExchangeContract(TestNccl nccl) {
    this.nccl = nccl;
  }

  @Override
  protected Backend open(int rank) {
    return nccl.open(rank, DType.F32);
  }

  @Override
  protected List<? extends Exchange> connect(List<Backend> backends, ExchangeLimits limits)
      throws Exception {
    return nccl.connect(
        InProcessExchange.group(backends, limits),
        backends,
        TestNccl.star(backends.size()),
        new int[] {0});
  }

  @AfterEach
  void ncclWasUsedRightly() {
    nccl.check();
  }
}

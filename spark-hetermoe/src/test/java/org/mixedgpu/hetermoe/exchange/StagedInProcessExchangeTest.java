package org.mixedgpu.hetermoe.exchange;

import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.StagedBackend;

/** Tensors that only their backend can read, as on a GPU. */
class StagedInProcessExchangeTest extends InProcessExchangeTest {
  @Override
  protected Backend open(int rank) {
    return StagedBackend.over(Backends.cpu(new CpuOptions(1, Long.MAX_VALUE)));
  }
}

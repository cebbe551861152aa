package org.mixedgpu.backend;

import org.mixedgpu.backend.cuda.OlderGenerations;
import org.mixedgpu.tensor.DType;

class CudaAmpereTest extends CudaContract {
  CudaAmpereTest() {
    super(DType.BF16);
  }

  @Override
  TrainingBackend open(CudaOptions options) {
    return OlderGenerations.ampere(options);
  }
}

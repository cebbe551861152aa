package org.mixedgpu.backend;

import org.mixedgpu.backend.cuda.OlderGenerations;
import org.mixedgpu.tensor.DType;

class CudaTuringTest extends CudaContract {
  CudaTuringTest() {
    super(DType.F16);
  }

  @Override
  TrainingBackend open(CudaOptions options) {
    return OlderGenerations.turing(options);
  }
}

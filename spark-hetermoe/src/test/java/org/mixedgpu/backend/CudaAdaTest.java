package org.mixedgpu.backend;

import org.mixedgpu.backend.cuda.OlderGenerations;
import org.mixedgpu.tensor.DType;

class CudaAdaTest extends CudaContract {
  CudaAdaTest() {
    super(DType.F16);
  }

  @Override
  TrainingBackend open(CudaOptions options) {
    return OlderGenerations.ada(options);
  }
}

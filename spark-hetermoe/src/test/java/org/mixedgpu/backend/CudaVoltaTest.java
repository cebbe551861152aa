package org.mixedgpu.backend;

import org.mixedgpu.backend.cuda.OlderGenerations;
import org.mixedgpu.tensor.DType;

class CudaVoltaTest extends CudaContract {
  CudaVoltaTest() {
    super(DType.F16);
  }

  @Override
  TrainingBackend open(CudaOptions options) {
    return OlderGenerations.volta(options);
  }
}

package org.mixedgpu.backend;

import org.mixedgpu.tensor.DType;

class CudaBackendF32Test extends CudaContract {
  CudaBackendF32Test() {
    super(DType.F32);
  }
}

package org.mixedgpu.backend;

import org.mixedgpu.tensor.DType;

class CudaBackendF16Test extends CudaContract {
  CudaBackendF16Test() {
    super(DType.F16);
  }
}

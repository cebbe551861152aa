package org.mixedgpu.backend;

import org.mixedgpu.tensor.DType;

class CudaBackendBf16Test extends CudaContract {
  CudaBackendBf16Test() {
    super(DType.BF16);
  }
}

package org.mixedgpu.backend;

import org.junit.jupiter.api.Nested;
import org.mixedgpu.tensor.DType;

/** The contract in 16 bits: that its tolerances are what rounding needs, on a device of tests. */
class RoundingBackendTest {
  @Nested
  class Bf16 extends BackendContract {
    @Override
    TrainingBackend open(long memoryLimitBytes) {
      return new RoundingBackend(DType.BF16, memoryLimitBytes);
    }
  }

  @Nested
  class F16 extends BackendContract {
    @Override
    TrainingBackend open(long memoryLimitBytes) {
      return new RoundingBackend(DType.F16, memoryLimitBytes);
    }
  }
}

package org.mixedgpu.backend;

class CpuBackendTest extends BackendContract {
  @Override
  TrainingBackend open(long memoryLimitBytes) {
    return Backends.cpu(new CpuOptions(2, memoryLimitBytes));
  }
}

package org.mixedgpu.backend;

/** The definition keeps its own contract; results are compared with a second instance of it. */
class ReferenceBackendTest extends BackendContract {
  @Override
  TrainingBackend open(long memoryLimitBytes) {
    return new ReferenceBackend(memoryLimitBytes);
  }
}

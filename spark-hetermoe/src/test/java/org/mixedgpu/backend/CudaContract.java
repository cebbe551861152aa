package org.mixedgpu.backend;

import java.nio.file.Path;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.tensor.DType;

/** The contract on the first GPU. */
@Tag("gpu")
abstract class CudaContract extends BackendContract {
  @TempDir static Path cache;

  /** Keeps the device's context between tests, each of which opens a backend. */
  private static TrainingBackend first;

  private final DType type;

  CudaContract(DType type) {
    this.type = type;
  }

  @BeforeAll
  static void openDevice() {
    first = Backends.cuda(new CudaOptions("0", null, Long.MAX_VALUE, cache));
  }

  @AfterAll
  static void closeDevice() {
    first.close();
  }

  @Override
  TrainingBackend open(long memoryLimitBytes) {
    return open(new CudaOptions("0", type, memoryLimitBytes, cache));
  }

  TrainingBackend open(CudaOptions options) {
    return Backends.cuda(options);
  }
}

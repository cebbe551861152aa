package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.file.Path;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;

/** Threads that share the default stream. */
@Tag("gpu")
@Timeout(60)
class CudaStreamTest {
  @TempDir static Path cache;

  private CudaBackend backend;
  private CudaStream stream;

  @BeforeEach
  void open() {
    backend = new CudaBackend(new CudaOptions("0", DType.F32, Long.MAX_VALUE, cache));
    stream = backend.device().current();
  }

  @AfterEach
  void close() {
    backend.close();
  }

  /** As where another thread writes between a waiter's fetch and its check. */
  @Test
  void aFetchedFaultOutlivesGrowingStaging() {
    int bytes = 4 << 20;
    CudaFaults faults = backend.device().faults();
    try (CudaTensor x =
        backend.device().memory().allocate(DType.F32, Shape.of(bytes / 4), stream)) {
      DriverCalls.cuMemsetD8Async(faults.pointer(), (byte) 1, 1, stream.address());
      faults.fetch(stream);
      stream.staging().write(x.pointer(), ByteBuffer.allocate(bytes));
      stream.drain();
      assertThatThrownBy(() -> faults.check(stream)).hasMessageContaining("gatherRows");
      stream.synchronize();
    }
  }
}

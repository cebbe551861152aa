package org.mixedgpu.backend;

import org.mixedgpu.backend.cuda.CudaBackend;
import org.mixedgpu.tensor.DType;

/**
 * What benchmarks and tests tagged {@code gpu} run on: the first GPU that CUDA sees. With {@code
 * -Dmixedgpu.test.backend=cpu} it is the CPU, in F32 only, which tries the test itself on a machine
 * without a GPU.
 */
public final class TestDevice {
  private TestDevice() {}

  public static boolean isCpu() {
    return System.getProperty("mixedgpu.test.backend", "cuda").equals("cpu");
  }

  /**
   * The caller closes it.
   *
   * @param type compute type; null for the device's own
   */
  public static TrainingBackend open(DType type) {
    return isCpu()
        ? Backends.cpu(CpuOptions.allCores())
        : Backends.cuda(new CudaOptions("0", type, Long.MAX_VALUE, null));
  }

  /** Kernels queued since the backend was opened; 0 where there are none. */
  public static long launches(Backend backend) {
    return backend instanceof CudaBackend cuda ? cuda.launches() : 0;
  }
}

package org.mixedgpu.backend;

import org.mixedgpu.backend.cuda.CudaBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/**
 * What benchmarks and tests tagged {@code gpu} run on: the first GPU that CUDA sees; those tagged
 * {@code gpu2} and {@code gpu4} on so many. With {@code -Dmixedgpu.test.backend=cpu} it is the CPU,
 * in F32 only, which tries the test itself on a machine without a GPU.
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
    return open(0, type);
  }

  /**
   * The caller closes it.
   *
   * @param index which of several, from 0; as CUDA counts
   * @param type compute type; null for the device's own
   */
  public static TrainingBackend open(int index, DType type) {
    if (isCpu()) {
      return Backends.cpu(CpuOptions.allCores());
    }
    try {
      return Backends.cuda(new CudaOptions(Integer.toString(index), type, Long.MAX_VALUE, null));
    } catch (MixedGpuException e) {
      if (index > 0 && e.fault() == Fault.MISSING) {
        throw new MixedGpuException(
            Fault.MISSING,
            "This needs "
                + (index + 1)
                + " GPUs or more: "
                + e.getMessage()
                + ". Run it on a machine with as many, or without tests tagged gpu2 and gpu4",
            e);
      }
      throw e;
    }
  }

  /** Kernels queued since the backend was opened; 0 where there are none. */
  public static long launches(Backend backend) {
    return backend instanceof CudaBackend cuda ? cuda.launches() : 0;
  }
}

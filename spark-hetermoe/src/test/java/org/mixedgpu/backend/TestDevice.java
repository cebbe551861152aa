package org.mixedgpu.backend;

import org.mixedgpu.backend.cuda.CudaBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/**
 * What benchmarks and tests tagged {@code gpu} run on: the first GPU that CUDA sees; those tagged
 * {@code gpu2} and {@code gpu4} on so many. Two others try the test itself on a machine without a
 * GPU: with {@code -Dmixedgpu.test.backend=cpu} it is the CPU, in F32 only; with {@code rounding}
 * it is a {@link RoundingBackend}, BF16 where no type is asked for.
 */
public final class TestDevice {
  private static final String NAME = System.getProperty("mixedgpu.test.backend", "cuda");

  private TestDevice() {}

  public static boolean isCpu() {
    return NAME.equals("cpu");
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
    return switch (NAME) {
      case "cpu" -> Backends.cpu(CpuOptions.allCores());
      case "rounding" -> new RoundingBackend(type == null ? DType.BF16 : type);
      case "cuda" -> cuda(index, type);
      default ->
          throw new IllegalArgumentException(
              "mixedgpu.test.backend is cuda, cpu or rounding; found " + NAME);
    };
  }

  private static TrainingBackend cuda(int index, DType type) {
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

package org.mixedgpu.backend;

import org.mixedgpu.backend.cpu.CpuBackend;
import org.mixedgpu.backend.cuda.CudaBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** Opens backends. The caller closes what it opened. */
public final class Backends {
  private Backends() {}

  /**
   * Opens a backend of the kind asked for, or fails: there is no fallback.
   *
   * @param options for {@link BackendKind#CPU}; {@link BackendKind#CUDA} is the first GPU with its
   *     own compute type
   */
  public static TrainingBackend open(BackendKind kind, CpuOptions options) {
    switch (kind) {
      case CPU:
        return cpu(options);
      case CUDA:
        return cuda(CudaOptions.device(0));
      case REFERENCE:
        throw new MixedGpuException(
            Fault.BAD_INPUT,
            "The reference backend is for tests and not part of this library; use "
                + BackendKind.CPU
                + " or "
                + BackendKind.CUDA);
    }
    throw new MixedGpuException(Fault.BUG, "Backend kind " + kind + " cannot be opened");
  }

  /** {@code MISSING} when there is no native BLAS for this platform. */
  public static TrainingBackend cpu(CpuOptions options) {
    return new CpuBackend(options);
  }

  /**
   * {@code MISSING} where there is no such GPU, or no driver or library of CUDA: the message names
   * it.
   */
  public static TrainingBackend cuda(CudaOptions options) {
    return new CudaBackend(options);
  }
}

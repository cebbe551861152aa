package org.mixedgpu.backend;

import org.mixedgpu.backend.cpu.CpuBackend;
import org.mixedgpu.backend.cuda.CudaBackend;

/** Opens backends, or fails: there is no fallback. The caller closes what it opened. */
public final class Backends {
  private Backends() {}

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

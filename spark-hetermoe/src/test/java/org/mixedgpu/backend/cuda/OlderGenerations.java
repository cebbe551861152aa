package org.mixedgpu.backend.cuda;

import java.util.Optional;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.device.ComputeCapability;

/** The kernels of older cards on the GPU of this machine, whose driver translates them. */
public final class OlderGenerations {
  static final CudaDevice.Generation VOLTA = generation(7, 0, 96 << 10);

  private OlderGenerations() {}

  /**
   * Capability 7.0: 96 KiB of shared memory, F16 on tensor cores by their first instructions. A
   * card of that capability needs CUDA 12's NVRTC; CUDA 13's, which starts with 7.5, compiles the
   * same instructions for 7.5 here.
   */
  public static TrainingBackend volta(CudaOptions options) {
    return open(options, VOLTA);
  }

  /** Capability 7.5: 64 KiB of shared memory, F16 on tensor cores. */
  public static TrainingBackend turing(CudaOptions options) {
    return open(options, generation(7, 5, 64 << 10));
  }

  /** Capability 8.0: 163 KiB. */
  public static TrainingBackend ampere(CudaOptions options) {
    return open(options, generation(8, 0, 163 << 10));
  }

  /** Capability 8.9: 99 KiB, as on 8.6. */
  public static TrainingBackend ada(CudaOptions options) {
    return open(options, generation(8, 9, 99 << 10));
  }

  private static CudaDevice.Generation generation(int major, int minor, int sharedBytesPerBlock) {
    return new CudaDevice.Generation(new ComputeCapability(major, minor), sharedBytesPerBlock);
  }

  private static TrainingBackend open(CudaOptions options, CudaDevice.Generation generation) {
    return new CudaBackend(new CudaDevice(options, Optional.of(generation)));
  }
}

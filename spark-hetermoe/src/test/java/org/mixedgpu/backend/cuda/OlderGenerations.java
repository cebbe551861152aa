package org.mixedgpu.backend.cuda;

import java.util.Optional;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.device.ComputeCapability;

/** The kernels of older cards on the GPU of this machine, whose driver translates them. */
public final class OlderGenerations {
  private OlderGenerations() {}

  /** Capability 7.5: 64 KiB of shared memory, F16 on tensor cores. */
  public static TrainingBackend turing(CudaOptions options) {
    return open(options, 7, 5, 64 << 10);
  }

  /** Capability 8.0: 163 KiB. */
  public static TrainingBackend ampere(CudaOptions options) {
    return open(options, 8, 0, 163 << 10);
  }

  /** Capability 8.9: 99 KiB, as on 8.6. */
  public static TrainingBackend ada(CudaOptions options) {
    return open(options, 8, 9, 99 << 10);
  }

  private static TrainingBackend open(
      CudaOptions options, int major, int minor, int sharedBytesPerBlock) {
    return new CudaBackend(
        new CudaDevice(
            options,
            Optional.of(
                new CudaDevice.Generation(
                    new ComputeCapability(major, minor), sharedBytesPerBlock))));
  }
}

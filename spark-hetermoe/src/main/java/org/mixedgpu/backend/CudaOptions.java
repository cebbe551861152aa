package org.mixedgpu.backend;

import java.nio.file.Path;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;

/**
 * What a CUDA backend is opened with.
 *
 * @param device the GPU: its index among those that CUDA sees, such as {@code 0}, or its PCI bus id
 *     as {@code nvidia-smi} prints it, such as {@code 00000000:19:00.0}
 * @param computeType F32, BF16 or F16; null for the device's own: BF16 from compute capability 8.0
 *     on, F16 before
 * @param memoryLimitBytes most bytes of open tensors and of scratch memory at one time; the GPU's
 *     own memory where that is less
 * @param cacheDirectory where compiled kernels are kept for the next process, of this user alone;
 *     null for {@code mixedgpu/kernels} in {@code XDG_CACHE_HOME} or {@code ~/.cache}
 */
public record CudaOptions(
    String device, DType computeType, long memoryLimitBytes, Path cacheDirectory) {
  public CudaOptions {
    Check.input(
        device.matches("\\d{1,3}|[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.[0-9a-fA-F]"),
        "A GPU is named by its index or PCI bus id, such as 0 or 00000000:19:00.0; found '%s'",
        device);
    Check.input(computeType != DType.I32, "A CUDA backend computes in F32, BF16 or F16; found I32");
    Check.input(
        memoryLimitBytes >= 0,
        "The memory limit of a CUDA backend is in bytes, 0 or more; found %d",
        memoryLimitBytes);
  }

  /** The device's own compute type, all of its memory, the cache of this user. */
  public static CudaOptions device(int index) {
    return new CudaOptions(Integer.toString(index), null, Long.MAX_VALUE, null);
  }
}

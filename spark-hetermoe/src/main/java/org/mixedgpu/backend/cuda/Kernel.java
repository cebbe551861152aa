package org.mixedgpu.backend.cuda;

import jcuda.driver.CUfunction_attribute;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.base.Check;

/** A function on the device. Any thread may launch it. */
final class Kernel {
  private static final long MOST_GRID_X = Integer.MAX_VALUE;
  private static final int MOST_GRID_YZ = 65_535;

  /** What a kernel may use without asking: 48 KiB with what it declares itself. */
  private static final int PLAIN_SHARED_BYTES = (48 << 10) - Geometry.STATIC_BYTES;

  private final CudaDevice device;
  private final String name;
  private final Kernels.Function function;
  private final long address;
  private volatile int allowedSharedBytes = PLAIN_SHARED_BYTES;

  Kernel(CudaDevice device, String name, Kernels.Function function) {
    this.device = device;
    this.name = name;
    this.function = function;
    this.address = function.address();
  }

  /**
   * Queues a launch on the calling thread's stream; nothing where the grid is empty.
   *
   * @param sharedBytes of dynamic shared memory, up to {@link CudaDevice#sharedBytesPerBlock}
   * @param arguments of {@link CudaDevice#arguments}
   */
  void launch(
      long gridX, long gridY, int gridZ, int blockX, int sharedBytes, LaunchArguments arguments) {
    if (gridX == 0 || gridY == 0 || gridZ == 0) {
      return;
    }
    if (gridX < 0 || gridX > MOST_GRID_X || gridY > MOST_GRID_YZ || gridZ > MOST_GRID_YZ) {
      throw Check.bug("%s cannot be launched on a grid of %d x %d x %d", name, gridX, gridY, gridZ);
    }
    if (sharedBytes > allowedSharedBytes) {
      allow(sharedBytes);
    }
    int result =
        DriverCalls.cuLaunchKernel(
            address,
            (int) gridX,
            (int) gridY,
            gridZ,
            blockX,
            1,
            1,
            sharedBytes,
            device.stream(),
            arguments.table(),
            0);
    if (result != CUresult.CUDA_SUCCESS) {
      throw device.failed(
          result,
          "cuLaunchKernel",
          String.format(
              "%s, grid %d x %d x %d, block %d, %d bytes of shared memory, arguments %s",
              name, gridX, gridY, gridZ, blockX, sharedBytes, arguments));
    }
    device.launches().increment();
  }

  private synchronized void allow(int sharedBytes) {
    // Another thread may have allowed more meanwhile, which stays.
    if (sharedBytes <= allowedSharedBytes) {
      return;
    }
    Check.that(
        sharedBytes <= device.sharedBytesPerBlock(),
        "%s asks for %d bytes of shared memory; a block of %s has at most %d",
        name,
        sharedBytes,
        device,
        device.sharedBytesPerBlock());
    device.check(
        JCudaDriver.cuFuncSetAttribute(
            function,
            CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            sharedBytes),
        "cuFuncSetAttribute",
        name + ", " + sharedBytes + " bytes of dynamic shared memory");
    allowedSharedBytes = sharedBytes;
  }

  @Override
  public String toString() {
    return name;
  }
}

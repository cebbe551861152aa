package org.mixedgpu.backend.cuda;

import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;

/**
 * Calls of the driver that JCuda lacks, or that are on the path of every op: here they take
 * addresses as numbers and, but for tensor maps, allocate nothing. Each returns a CUresult, 0 for
 * success. Names and arguments are the driver API's.
 */
final class DriverCalls {
  /** Opened by {@link CudaDriver} before this class is first used. */
  static {
    Native.register(DriverCalls.class, NativeLibrary.getInstance(CudaDriver.LIBRARY));
  }

  private DriverCalls() {}

  static native int cuLaunchKernel(
      long function,
      int gridX,
      int gridY,
      int gridZ,
      int blockX,
      int blockY,
      int blockZ,
      int sharedBytes,
      long stream,
      long kernelParams,
      long extra);

  /** The pool's handle goes to the 8 bytes at {@code pool}. */
  static native int cuDeviceGetDefaultMemPool(long pool, int device);

  /** The value is the 8 (or, for switches, 4) bytes at {@code value}. */
  static native int cuMemPoolSetAttribute(long pool, int attribute, long value);

  static native int cuMemPoolTrimTo(long pool, long minBytesToKeep);

  /** The address goes to the 8 bytes at {@code pointer}. */
  static native int cuMemAllocAsync(long pointer, long bytes, long stream);

  static native int cuMemFreeAsync(long pointer, long stream);

  static native int cuMemsetD8Async(long pointer, byte value, long bytes, long stream);

  static native int cuMemcpyHtoDAsync_v2(long to, long from, long bytes, long stream);

  static native int cuMemcpyDtoHAsync_v2(long to, long from, long bytes, long stream);

  /** Sizes, strides and box from the contiguous dimension on; the map is 128 bytes. */
  static native int cuTensorMapEncodeTiled(
      Pointer map,
      int dataType,
      int rank,
      Pointer tensor,
      long[] sizes,
      long[] strides,
      int[] box,
      int[] elementStrides,
      int interleave,
      int swizzle,
      int promotion,
      int fill);
}

package org.mixedgpu.backend.cuda;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import jcuda.driver.CUmemPool_attribute;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.MemoryAccount;
import org.mixedgpu.tensor.Shape;

/**
 * A device's memory: the driver's stream-ordered pool, which keeps what was freed for the next
 * allocation, under an exact account and a hard limit. What is counted is what was asked for, from
 * the call that allocates to the one that closes; the pool rounds up to 512 bytes, takes pages of 2
 * MiB from the device, and has a closed tensor's memory until the work queued before is done.
 */
final class CudaMemory {
  private final CudaDevice device;
  private final MemoryAccount account;
  private final long pool;

  /**
   * @param limitBytes at most the device's own memory
   */
  CudaMemory(CudaDevice device, String name, long limitBytes) {
    this.device = device;
    this.account = new MemoryAccount(name, limitBytes);
    try (Memory cell = new Memory(Long.BYTES)) {
      long at = Pointer.nativeValue(cell);
      device.check(
          DriverCalls.cuDeviceGetDefaultMemPool(at, device.ordinal()),
          "cuDeviceGetDefaultMemPool",
          "");
      pool = cell.getLong(0);
      cell.setLong(0, -1L);
      device.check(
          DriverCalls.cuMemPoolSetAttribute(
              pool, CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, at),
          "cuMemPoolSetAttribute",
          "release threshold");
      // A stream must wait for another only where somebody asked for it: a wait that the pool adds
      // on its own could be for a transfer whose peer waits for us.
      cell.setLong(0, 0);
      device.check(
          DriverCalls.cuMemPoolSetAttribute(
              pool, CUmemPool_attribute.CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES, at),
          "cuMemPoolSetAttribute",
          "no internal dependencies");
    }
  }

  MemoryAccount account() {
    return account;
  }

  /** A zeroed tensor. */
  CudaTensor allocate(DType type, Shape shape, CudaStream stream) {
    MemoryAccount.Entry entry = account.open(type, shape);
    long address;
    try {
      address = take(entry.what(), entry.bytes(), stream);
    } catch (RuntimeException e) {
      account.close(entry);
      throw e;
    }
    CudaEvent zeroed;
    try {
      if (entry.bytes() > 0) {
        int result =
            DriverCalls.cuMemsetD8Async(address, (byte) 0, entry.bytes(), stream.address());
        device.check(result, "cuMemsetD8Async", entry.what());
      }
      zeroed = stream.record();
    } catch (RuntimeException e) {
      DriverCalls.cuMemFreeAsync(address, stream.address());
      account.close(entry);
      throw e;
    }
    return new CudaTensor(
        type, shape, new CudaBlock(device, () -> account.close(entry), address, zeroed, stream));
  }

  /** Memory with undefined contents for one stream, beside the tensors. */
  CudaTensor scratch(String slot, DType type, Shape shape, CudaStream stream) {
    long bytes = shape.elements() * type.bytes();
    String what = "scratch memory " + slot;
    account.scratch(what, bytes);
    long address;
    try {
      address = take(what, bytes, stream);
    } catch (RuntimeException e) {
      account.scratch(what, -bytes);
      throw e;
    }
    return new CudaTensor(
        type,
        shape,
        new CudaBlock(device, () -> account.scratch(what, -bytes), address, null, stream));
  }

  private long take(String what, long bytes, CudaStream stream) {
    // Never address 0, which means "none" to kernels and "closed" to blocks.
    long size = Math.max(bytes, 1);
    long cell = stream.arguments().cell();
    int result = DriverCalls.cuMemAllocAsync(cell, size, stream.address());
    if (result == CUresult.CUDA_ERROR_OUT_OF_MEMORY) {
      // What other streams have freed may not have been passed yet.
      device.synchronizeAll();
      DriverCalls.cuMemPoolTrimTo(pool, 0);
      result = DriverCalls.cuMemAllocAsync(cell, size, stream.address());
    }
    if (result != CUresult.CUDA_SUCCESS) {
      long[] free = new long[1];
      long[] total = new long[1];
      JCudaDriver.cuMemGetInfo(free, total);
      throw device.failed(
          result,
          "cuMemAllocAsync",
          String.format(
              "%s, %d bytes; %d bytes in %d tensors of this backend, %d of the GPU's %d bytes free",
              what, bytes, account.bytes(), account.tensors(), free[0], total[0]));
    }
    return stream.arguments().cellValue();
  }

  /** Gives unused memory back to the device; {@code BUG} if tensors are still open. */
  void close() {
    try {
      account.close();
    } finally {
      device.check(DriverCalls.cuMemPoolTrimTo(pool, 0), "cuMemPoolTrimTo", "");
    }
  }
}

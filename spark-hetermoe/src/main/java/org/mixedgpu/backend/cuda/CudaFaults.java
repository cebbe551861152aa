package org.mixedgpu.backend.cuda;

import org.mixedgpu.base.MixedGpuException;

/**
 * What kernels found wrong with values that only they see: a record in device memory, written by
 * the first kernel that refuses an index, read when a stream is waited for.
 */
final class CudaFaults {
  /** {which, position, value, limit}; all 0 while there is none. */
  static final int BYTES = 16;

  private final CudaDevice device;
  private final long address;

  CudaFaults(CudaDevice device, CudaStream stream) {
    this.device = device;
    LaunchArguments arguments = stream.arguments();
    device.check(
        DriverCalls.cuMemAllocAsync(arguments.cell(), BYTES, stream.address()),
        "cuMemAllocAsync",
        "the fault record");
    this.address = arguments.cellValue();
    clear(stream);
    stream.drain();
  }

  /** For kernels that check an index. */
  long pointer() {
    return address;
  }

  /** Queues a copy of the record, for {@link #check} once the stream is synchronized. */
  void fetch(CudaStream stream) {
    stream.staging().fetchFaults(address);
  }

  /** Throws the fault that was fetched, if any, and clears it. */
  void check(CudaStream stream) {
    int which = stream.staging().fault(0);
    // Below 0 another stream's kernel is about to write; that stream will tell.
    if (which <= 0) {
      return;
    }
    MixedGpuException found =
        IndexFault.of(which)
            .exception(
                stream.staging().fault(1), stream.staging().fault(2), stream.staging().fault(3));
    synchronized (stream) {
      stream.staging().clearFault();
      clear(stream);
    }
    throw found;
  }

  private void clear(CudaStream stream) {
    device.check(
        DriverCalls.cuMemsetD8Async(address, (byte) 0, BYTES, stream.address()),
        "cuMemsetD8Async",
        "the fault record");
  }

  void close(CudaStream stream) {
    device.check(
        DriverCalls.cuMemFreeAsync(address, stream.address()), "cuMemFreeAsync", "fault record");
  }
}

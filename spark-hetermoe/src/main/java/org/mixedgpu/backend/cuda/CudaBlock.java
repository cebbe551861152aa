package org.mixedgpu.backend.cuda;

import org.mixedgpu.base.Check;

/**
 * One allocation of device memory, and which streams have used it. Memory is allocated and zeroed
 * in a stream's order and not at once: another stream waits for that point before it first uses the
 * block, and the block is freed after the work of all streams that used it. So tensors may be
 * allocated, used and closed by any threads, as if each op were done when it returns.
 */
final class CudaBlock {
  private final CudaDevice device;
  private final Runnable released;

  /** 0 when freed. */
  private volatile long address;

  /** Where the memory was zeroed. */
  private final CudaEvent ready;

  /** A bit per stream, by index. */
  private volatile long users;

  /**
   * @param released runs once, when the block is freed
   * @param ready the point at which the contents are zero; null for undefined contents
   */
  CudaBlock(CudaDevice device, Runnable released, long address, CudaEvent ready, CudaStream home) {
    this.device = device;
    this.released = released;
    this.address = address;
    this.ready = ready;
    this.users = 1L << home.index();
  }

  CudaDevice device() {
    return device;
  }

  long address() {
    long start = address;
    Check.that(start != 0, "A tensor was used after it was closed");
    return start;
  }

  /** An op on this stream is about to read or write the block. */
  void usedBy(CudaStream stream) {
    long bit = 1L << stream.index();
    if ((users & bit) == 0) {
      synchronized (this) {
        if (ready != null) {
          ready.await(stream);
        }
        users |= bit;
      }
    }
  }

  /** Idempotent; the memory is free once all streams have passed what they have queued by now. */
  void free() {
    long start;
    synchronized (this) {
      start = address;
      address = 0;
    }
    if (start != 0 && !device.closed()) {
      device.makeCurrent();
      device.streams().free(start, users);
      released.run();
    }
  }
}

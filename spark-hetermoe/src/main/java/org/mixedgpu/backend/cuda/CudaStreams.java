package org.mixedgpu.backend.cuda;

import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** The open streams of a device, and which thread has which. */
final class CudaStreams {
  private final CudaDevice device;

  /** By index; a block remembers its users in the bits of a long. */
  private final CudaStream[] open = new CudaStream[Long.SIZE];

  private final ThreadLocal<CudaStream> bound = new ThreadLocal<>();
  private final CudaStream standard;

  /**
   * Where memory is freed that several streams have used, so that none of them waits for others.
   */
  private final CudaStream freeing;

  CudaStreams(CudaDevice device) {
    this.device = device;
    this.standard = open("default");
    try {
      this.freeing = open("freeing");
    } catch (RuntimeException e) {
      throw CudaDevice.closing(e, () -> close(standard));
    }
  }

  /** For all threads that have none of their own. */
  CudaStream standard() {
    return standard;
  }

  /** The calling thread's. */
  CudaStream current() {
    CudaStream own = bound.get();
    return own == null ? standard : own;
  }

  /** Makes it the calling thread's. */
  void bind(CudaStream stream) {
    bound.set(stream);
  }

  private CudaStream open(String name) {
    return open(name, false /* not urgent */);
  }

  /**
   * @param urgent whether the GPU starts its kernels' blocks before those of other streams
   */
  CudaStream open(String name, boolean urgent) {
    device.makeCurrent();
    synchronized (open) {
      for (int i = 0; i < open.length; i++) {
        if (open[i] == null) {
          open[i] = new CudaStream(device, name, i, urgent);
          return open[i];
        }
      }
    }
    throw new MixedGpuException(
        Fault.EXHAUSTED,
        String.format(
            "Cannot open lane %s on %s: %d are open; close lanes that are done",
            name, device, open.length));
  }

  /** Waits for its work and closes it. */
  void close(CudaStream stream) {
    device.makeCurrent();
    stream.drain();
    synchronized (open) {
      open[stream.index()] = null;
    }
    stream.close();
  }

  /**
   * Frees memory after all work that its users have queued by now.
   *
   * @param users a bit per stream, by index
   */
  void free(long address, long users) {
    synchronized (open) {
      CudaStream last = Long.bitCount(users) == 1 ? user(users) : freeing;
      for (long rest = users; rest != 0; rest &= rest - 1) {
        CudaStream user = user(rest);
        if (user != last) {
          user.comesBefore(last);
        }
      }
      device.check(DriverCalls.cuMemFreeAsync(address, last.address()), "cuMemFreeAsync", last);
    }
  }

  /** The stream of the lowest bit; one that was closed has waited for its work. */
  private CudaStream user(long bits) {
    CudaStream stream = open[Long.numberOfTrailingZeros(bits)];
    return stream == null ? freeing : stream;
  }

  /** Closes all, those of forgotten lanes too. */
  void close() {
    for (int i = open.length - 1; i >= 0; i--) {
      CudaStream stream = open[i];
      if (stream != null && stream != freeing) {
        close(stream);
      }
    }
    close(freeing);
  }
}

package org.mixedgpu.backend.cuda;

import java.util.ArrayDeque;
import jcuda.driver.CUevent;
import jcuda.driver.CUstream;
import jcuda.driver.CUstream_flags;
import jcuda.driver.JCudaDriver;

/**
 * One stream of a device with what the ops on it need: scratch memory, staging memory, the
 * arguments of the next launch. A lane's stream is used by its thread alone; the default stream by
 * any, each op while it holds the stream's monitor.
 */
final class CudaStream {
  /** CUstream hides its address from all but its subclasses. */
  private static final class Handle extends CUstream {
    long address() {
      return getNativePointer();
    }
  }

  private final CudaDevice device;
  private final String name;
  private final int index;
  private final Handle handle = new Handle();
  private final long address;
  private final CudaScratch scratch;
  private final Staging staging;
  private final LaunchArguments arguments = new LaunchArguments();
  private final ArrayDeque<CudaEvent> recorded = new ArrayDeque<>();

  /** Counts ops, so that a point is recorded only where there is something before it. */
  private long ops;

  private long markedAt = -1;
  private CudaEvent mark;

  /**
   * @param index of the device's streams, below 64
   * @param urgent whether the GPU starts its kernels' blocks before those of other streams
   */
  CudaStream(CudaDevice device, String name, int index, boolean urgent) {
    this.device = device;
    this.name = name;
    this.index = index;
    int[] least = new int[1];
    int[] greatest = new int[1];
    device.check(
        JCudaDriver.cuCtxGetStreamPriorityRange(least, greatest),
        "cuCtxGetStreamPriorityRange",
        name);
    device.check(
        JCudaDriver.cuStreamCreateWithPriority(
            handle, CUstream_flags.CU_STREAM_NON_BLOCKING, urgent ? greatest[0] : least[0]),
        "cuStreamCreateWithPriority",
        name);
    this.address = handle.address();
    this.scratch = new CudaScratch(device, this);
    try {
      this.staging = new Staging(device, this);
    } catch (RuntimeException e) {
      JCudaDriver.cuStreamDestroy(handle);
      throw e;
    }
  }

  CUstream handle() {
    return handle;
  }

  /** The CUstream as a number. */
  long address() {
    return address;
  }

  int index() {
    return index;
  }

  CudaScratch scratch() {
    return scratch;
  }

  Staging staging() {
    return staging;
  }

  LaunchArguments arguments() {
    return arguments;
  }

  /**
   * An op is about to be queued here. The caller holds the monitor until it is, so that no mark is
   * between; once per operand does no harm.
   */
  void opBegins() {
    ops++;
  }

  /** The point after all work queued so far. */
  synchronized CudaEvent record() {
    while (!recorded.isEmpty() && recorded.peek().reached()) {
      recorded.poll();
    }
    CUevent event = device.events().take();
    device.check(JCudaDriver.cuEventRecord(event, handle), "cuEventRecord", this);
    CudaEvent point = new CudaEvent(device, event);
    recorded.add(point);
    return point;
  }

  /** The same, for work of another stream that comes after; null where there is nothing before. */
  synchronized CudaEvent mark() {
    if (ops == 0) {
      return null;
    }
    if (markedAt != ops) {
      mark = record();
      markedAt = ops;
    }
    return mark;
  }

  /** The moment at which the stream gets here; the caller closes it. */
  synchronized CudaStamp stamp() {
    opBegins();
    CUevent event = device.timers().take();
    device.check(JCudaDriver.cuEventRecord(event, handle), "cuEventRecord", this);
    return new CudaStamp(device, event);
  }

  /** Lets the other stream go on only after all that is queued here by now. */
  void comesBefore(CudaStream other) {
    CUevent event = device.events().take();
    device.check(JCudaDriver.cuEventRecord(event, handle), "cuEventRecord", this);
    device.check(JCudaDriver.cuStreamWaitEvent(other.handle, event, 0), "cuStreamWaitEvent", other);
    // A wait is for what the event marked when the wait was queued; it may mark another point now.
    device.events().give(event);
  }

  /** Blocks the caller until all work queued here is done; throws what kernels found wrong. */
  void synchronize() {
    device.makeCurrent();
    synchronized (this) {
      device.faults().fetch(this);
    }
    drain();
    device.faults().check(this);
  }

  /** Waits for the stream's work. */
  void drain() {
    device.check(JCudaDriver.cuStreamSynchronize(handle), "cuStreamSynchronize", this);
  }

  /** Gives back all that a drained stream holds. */
  synchronized void close() {
    for (CudaEvent event : recorded) {
      event.reached();
    }
    recorded.clear();
    scratch.close();
    staging.close();
    device.check(JCudaDriver.cuStreamDestroy(handle), "cuStreamDestroy", this);
  }

  @Override
  public String toString() {
    return "stream " + name;
  }
}

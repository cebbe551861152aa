package org.mixedgpu.backend.cuda;

import jcuda.driver.CUevent;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.backend.Stamp;
import org.mixedgpu.base.Check;

/**
 * A moment in a stream's work, marked by an event of the driver that notes the device's time. The
 * event goes back to the device when this is closed.
 */
final class CudaStamp implements Stamp {
  private static final double NANOS_PER_MILLI = 1e6;

  private final CudaDevice device;

  /** Null when closed. */
  private CUevent event;

  CudaStamp(CudaDevice device, CUevent recorded) {
    this.device = device;
    this.event = recorded;
  }

  @Override
  public long nanosSince(Stamp earlier) {
    if (!(earlier instanceof CudaStamp before) || before.device != device) {
      throw Check.badInput(
          "Time passes between two stamps of the same backend, %s; found one of %s",
          device, earlier.getClass().getName());
    }
    CUevent from = before.event();
    CUevent to = event();
    float[] millis = new float[1];
    device.makeCurrent();
    int result = JCudaDriver.cuEventElapsedTime(millis, from, to);
    if (result == CUresult.CUDA_ERROR_NOT_READY) {
      device.check(JCudaDriver.cuEventSynchronize(from), "cuEventSynchronize", "a stamp");
      device.check(JCudaDriver.cuEventSynchronize(to), "cuEventSynchronize", "a stamp");
      result = JCudaDriver.cuEventElapsedTime(millis, from, to);
    }
    device.check(result, "cuEventElapsedTime", "two stamps");
    return Math.round(millis[0] * NANOS_PER_MILLI);
  }

  private synchronized CUevent event() {
    Check.that(event != null, "A stamp was used after it was closed");
    return event;
  }

  @Override
  public synchronized void close() {
    if (event != null) {
      device.timers().give(event);
      event = null;
    }
  }
}

package org.mixedgpu.backend.cuda;

import jcuda.driver.CUevent;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.backend.Event;

/**
 * A point in a stream's work. It holds an event of the driver until it is known to be reached; then
 * the event goes back to the device for the next point. Any thread may ask and wait.
 */
final class CudaEvent implements Event {
  private final CudaDevice device;

  /** Null when the point has been reached. */
  private CUevent event;

  private int waiting;

  CudaEvent(CudaDevice device, CUevent recorded) {
    this.device = device;
    this.event = recorded;
  }

  /** Lets the stream's later work start after this point; does not block the caller. */
  synchronized void await(CudaStream stream) {
    if (event != null) {
      device.check(
          JCudaDriver.cuStreamWaitEvent(stream.handle(), event, 0), "cuStreamWaitEvent", stream);
    }
  }

  @Override
  public synchronized boolean reached() {
    if (event == null) {
      return true;
    }
    device.makeCurrent();
    int result = JCudaDriver.cuEventQuery(event);
    if (result == CUresult.CUDA_ERROR_NOT_READY) {
      return false;
    }
    device.check(result, "cuEventQuery", "waiting for earlier work");
    recycle();
    return true;
  }

  @Override
  public void synchronize() {
    CUevent waitFor;
    synchronized (this) {
      if (event == null) {
        return;
      }
      waitFor = event;
      waiting++;
    }
    device.makeCurrent();
    int result = JCudaDriver.cuEventSynchronize(waitFor);
    synchronized (this) {
      waiting--;
      device.check(result, "cuEventSynchronize", "waiting for earlier work");
      recycle();
    }
  }

  /** A waiting thread still looks at the event; then the last one recycles. */
  private void recycle() {
    if (event != null && waiting == 0) {
      device.events().give(event);
      event = null;
    }
  }
}

package org.mixedgpu.backend.cuda;

import java.util.ArrayDeque;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.JCudaDriver;

/** The driver's events that a device has made and that mark no point at the moment. */
final class CudaEvents {
  private final CudaDevice device;
  private final ArrayDeque<CUevent> free = new ArrayDeque<>();

  CudaEvents(CudaDevice device) {
    this.device = device;
  }

  /** An event that marks nothing yet. */
  CUevent take() {
    synchronized (this) {
      CUevent event = free.poll();
      if (event != null) {
        return event;
      }
    }
    CUevent event = new CUevent();
    device.check(
        JCudaDriver.cuEventCreate(event, CUevent_flags.CU_EVENT_DISABLE_TIMING),
        "cuEventCreate",
        "");
    return event;
  }

  synchronized void give(CUevent event) {
    free.push(event);
  }

  /** Destroys what was given back. */
  synchronized void close() {
    for (CUevent event : free) {
      device.check(JCudaDriver.cuEventDestroy(event), "cuEventDestroy", "");
    }
    free.clear();
  }
}

package org.mixedgpu.backend.cuda;

import java.util.ArrayDeque;
import jcuda.driver.CUevent;
import jcuda.driver.JCudaDriver;

/** The driver's events of one kind that a device has made and that mark no point at the moment. */
final class CudaEvents {
  private final CudaDevice device;
  private final int flags;
  private final ArrayDeque<CUevent> free = new ArrayDeque<>();

  /**
   * @param flags of cuEventCreate
   */
  CudaEvents(CudaDevice device, int flags) {
    this.device = device;
    this.flags = flags;
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
    device.check(JCudaDriver.cuEventCreate(event, flags), "cuEventCreate", "");
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

package org.mixedgpu.local;

import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** Sleeping between two looks at a process. */
final class Pause {
  private Pause() {}

  static void millis(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MixedGpuException(Fault.EXHAUSTED, "Interrupted while waiting", e);
    }
  }
}

package org.mixedgpu.base;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;

/** Heap bytes that work allocates in the calling thread. */
public final class Garbage {
  private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();

  /** Until then classes are loaded and call sites linked, which allocates. */
  private static final int WARM_UP = 5;

  private Garbage() {}

  /**
   * Of one call as the code is written: few calls come before, so that no compiler has taken
   * objects away yet.
   */
  public static long of(Runnable work) {
    for (int i = 0; i < WARM_UP; i++) {
      work.run();
    }
    long start = THREADS.getCurrentThreadAllocatedBytes();
    work.run();
    return THREADS.getCurrentThreadAllocatedBytes() - start;
  }
}

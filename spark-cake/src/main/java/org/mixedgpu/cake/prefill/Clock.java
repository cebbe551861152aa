package org.mixedgpu.cake.prefill;

import java.util.concurrent.locks.LockSupport;

/** Time for measuring and waiting; tests have their own. */
public interface Clock {
  /** As {@link System#nanoTime}. */
  long nanoTime();

  /** Returns after this time, or earlier if the thread is interrupted. */
  void sleep(long nanos);

  Clock SYSTEM =
      new Clock() {
        @Override
        public long nanoTime() {
          return System.nanoTime();
        }

        @Override
        public void sleep(long nanos) {
          long end = System.nanoTime() + nanos;
          for (long left = nanos; left > 0; left = end - System.nanoTime()) {
            if (Thread.currentThread().isInterrupted()) {
              return;
            }
            LockSupport.parkNanos(left);
          }
        }
      };
}

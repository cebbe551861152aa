package org.mixedgpu.backend.emulated;

import java.util.concurrent.locks.LockSupport;

/** A clock and a way to let its time pass; another in tests. */
interface Stopwatch {
  /** Nanoseconds since some origin. */
  long nanos();

  /** Returns after about this long, sooner or later; uses no processor meanwhile. */
  void pass(long nanos);

  /** The time of the calling thread's machine. */
  Stopwatch SYSTEM =
      new Stopwatch() {
        @Override
        public long nanos() {
          return System.nanoTime();
        }

        @Override
        public void pass(long nanos) {
          LockSupport.parkNanos(nanos);
        }
      };
}

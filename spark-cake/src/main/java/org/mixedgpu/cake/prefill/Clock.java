package org.mixedgpu.cake.prefill;

import java.util.concurrent.locks.Condition;

/** Time for measuring and waiting; tests have their own. */
public interface Clock {
  /** As {@link System#nanoTime}. */
  long nanoTime();

  /** Waits for a condition, whose lock is held, for this time at the most. */
  void await(Condition condition, long nanos) throws InterruptedException;

  Clock SYSTEM =
      new Clock() {
        @Override
        public long nanoTime() {
          return System.nanoTime();
        }

        @Override
        public void await(Condition condition, long nanos) throws InterruptedException {
          long left = condition.awaitNanos(nanos);
          // The caller looks at the time itself; early returns are allowed.
          assert left <= nanos;
        }
      };
}

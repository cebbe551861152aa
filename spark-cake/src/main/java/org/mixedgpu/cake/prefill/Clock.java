package org.mixedgpu.cake.prefill;

import java.util.concurrent.locks.Condition;

/** Time for measuring and waiting; tests have their own. */
public interface Clock {
  /** As {@link System#nanoTime}. */
  long nanoTime();

  /**
   * Waits for a condition, whose lock is held, for this time at the most; may return earlier.
   *
   * @return about what is left of the time; 0 or less if nothing is
   */
  long await(Condition condition, long nanos) throws InterruptedException;

  Clock SYSTEM =
      new Clock() {
        @Override
        public long nanoTime() {
          return System.nanoTime();
        }

        @Override
        public long await(Condition condition, long nanos) throws InterruptedException {
          return condition.awaitNanos(nanos);
        }
      };
}

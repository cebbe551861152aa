package org.mixedgpu.hetermoe.spark.exchange;

import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.BooleanSupplier;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** A lock with one condition, a time limit and the texts of what can go wrong while waiting. */
final class Waiting {
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final long timeoutMs;

  Waiting(long timeoutMs) {
    this.timeoutMs = timeoutMs;
  }

  void lock() {
    lock.lock();
  }

  void unlock() {
    lock.unlock();
  }

  /** Wakes all who wait, to look again. Takes the lock itself. */
  void wake() {
    lock.lock();
    try {
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** Waits, holding the lock, for what cannot fail to come soon. */
  void briefly(BooleanSupplier condition) {
    while (!condition.getAsBoolean()) {
      changed.awaitUninterruptibly();
    }
  }

  /**
   * Waits, holding the lock, until the condition is true.
   *
   * @param refuse throws where waiting has become pointless
   */
  void until(BooleanSupplier condition, Runnable refuse, String what) {
    until(condition, refuse, what, timeoutMs * 1_000_000);
  }

  /** The same without a time limit. */
  void patiently(BooleanSupplier condition, Runnable refuse, String what) {
    until(condition, refuse, what, Long.MAX_VALUE);
  }

  private void until(BooleanSupplier condition, Runnable refuse, String what, long limitNanos) {
    long nanos = limitNanos;
    while (!condition.getAsBoolean()) {
      refuse.run();
      if (nanos <= 0) {
        throw new MixedGpuException(
            Fault.EXHAUSTED,
            "Waited "
                + timeoutMs
                + " ms for "
                + what
                + "; see why the peer is slow, or raise the time limit of the exchange");
      }
      try {
        nanos = changed.awaitNanos(nanos);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new MixedGpuException(Fault.MISSING, "Interrupted while waiting for " + what, e);
      }
    }
  }
}

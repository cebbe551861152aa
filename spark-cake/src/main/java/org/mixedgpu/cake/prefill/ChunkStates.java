package org.mixedgpu.cake.prefill;

import java.util.concurrent.atomic.AtomicIntegerArray;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Who has which chunk of one prompt. Every change is one compare-and-set on one array, so that a
 * chunk has one owner at any time; only who brought a chunk to COMPUTING or READY writes its rows
 * of the KV cache.
 *
 * <pre>
 * EMPTY ──► READING ──► READY ──► DONE     the loader: reading to host memory, copying, done
 *   │         │  └────► FAILED             a miss: left to the compute side
 *   └─────────┴───────────┴──► COMPUTING ──► DONE
 * </pre>
 */
final class ChunkStates {
  enum State {
    EMPTY,
    READING,
    READY,
    FAILED,
    COMPUTING,
    DONE
  }

  private static final State[] STATES = State.values();

  private final AtomicIntegerArray states;

  ChunkStates(int chunks) {
    states = new AtomicIntegerArray(chunks);
  }

  int size() {
    return states.length();
  }

  State of(int chunk) {
    return STATES[states.get(chunk)];
  }

  /** Whether the chunk was in {@code from} and is now in {@code to}; wakes who waits. */
  boolean move(int chunk, State from, State to) {
    if (!states.compareAndSet(chunk, from.ordinal(), to.ordinal())) {
      return false;
    }
    synchronized (this) {
      notifyAll();
    }
    return true;
  }

  /**
   * Waits while the chunk stays in a state.
   *
   * @param nanos the longest wait; {@link Long#MAX_VALUE} for any time
   */
  void awaitChange(int chunk, State state, long nanos) {
    long end = System.nanoTime() + nanos;
    synchronized (this) {
      while (of(chunk) == state) {
        long left = nanos == Long.MAX_VALUE ? Long.MAX_VALUE : end - System.nanoTime();
        if (left <= 0) {
          return;
        }
        try {
          // Rounded up, for 0 means for ever.
          wait(Math.min(left / 1_000_000 + 1, 1_000));
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new MixedGpuException(
              Fault.EXHAUSTED, "Interrupted while waiting for chunk " + chunk + " to be loaded", e);
        }
      }
    }
  }
}

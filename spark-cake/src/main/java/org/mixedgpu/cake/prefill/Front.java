package org.mixedgpu.cake.prefill;

import java.util.function.ObjIntConsumer;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.cake.prefill.ChunkStates.State;
import org.mixedgpu.cake.store.StoredChunk;

/**
 * One prompt on its way, as the compute side sees it: goes from the front to the back, computes
 * what nobody has, waits where that is expected to be faster, and overtakes reads that are late.
 */
final class Front {
  private final ObjIntConsumer<int[]> compute;
  private final Pace pace;
  private final Claims claims;
  final int[] tokens;
  final PrefixKey[] keys;
  final StoredChunk[] stored;
  final ChunkStates states;

  /** By chunk, those that may be loaded and the last whole one behind them. */
  final boolean[] computed;

  /** Leading chunks that were in memory. */
  final int reused;

  BackLoader.Walk walk;

  /** What may still be waited for; 0 before the first wait, negative when used up. */
  private long patienceNanos;

  /**
   * @param compute computes a chunk of these tokens and returns when it is in the cache
   * @param loadable chunks that either side may get
   */
  Front(
      ObjIntConsumer<int[]> compute,
      Pace pace,
      Claims claims,
      int[] tokens,
      PrefixKey[] keys,
      StoredChunk[] stored,
      int loadable,
      int reused) {
    this.compute = compute;
    this.pace = pace;
    this.claims = claims;
    this.tokens = tokens;
    this.keys = keys;
    this.stored = stored;
    this.states = new ChunkStates(loadable);
    this.computed = new boolean[keys.length];
    this.reused = reused;
  }

  /** Returns when the chunk is in the cache, by whoever's work. */
  void obtain(int i) {
    while (true) {
      State state = states.of(i);
      switch (state) {
        case DONE:
          return;
        case EMPTY:
          if (leftToLoader(i)) {
            break;
          }
          if (states.move(i, State.EMPTY, State.COMPUTING)) {
            compute(i);
            return;
          }
          break;
        case FAILED:
          if (states.move(i, State.FAILED, State.COMPUTING)) {
            compute(i);
            return;
          }
          break;
        case READING:
          if (!claims.mayOvertake(i)) {
            states.awaitChange(i, state, Long.MAX_VALUE);
          } else if (!worthWaiting(i, state) && states.move(i, State.READING, State.COMPUTING)) {
            compute(i);
            return;
          }
          break;
        case READY:
          // The copy to the device has begun; it ends.
          states.awaitChange(i, state, Long.MAX_VALUE);
          break;
        case COMPUTING:
          Check.that(false, "Chunk %d is computed by somebody else", i);
          break;
      }
    }
  }

  /** Takes all chunks from the loader, which must not write to the cache any more. */
  void abandon() {
    for (int i = 0; i < states.size(); i++) {
      while (states.of(i) == State.EMPTY
          || states.of(i) == State.READING
          || states.of(i) == State.READY) {
        if (!states.move(i, State.EMPTY, State.COMPUTING)
            && !states.move(i, State.READING, State.COMPUTING)) {
          Thread.onSpinWait();
        }
      }
    }
  }

  /** Whether a chunk that nobody has is better loaded; waits for that if so. */
  private boolean leftToLoader(int i) {
    if (stored[i] == null || !claims.mayLoad(i)) {
      return false;
    }
    if (!claims.mayCompute(i)) {
      states.awaitChange(i, State.EMPTY, Long.MAX_VALUE);
      return true;
    }
    int left = 0;
    for (int c = i; c < states.size(); c++) {
      boolean open = states.of(c) == State.EMPTY || states.of(c) == State.READING;
      left += open && stored[c] != null ? 1 : 0;
    }
    return pace.loadsBeforeComputing(left) && worthWaiting(i, State.EMPTY);
  }

  /**
   * Waits for a change where that is expected to be faster than computing. All waits of a prompt
   * together cost at most the time of computing one chunk, should the expectation be wrong.
   */
  private boolean worthWaiting(int i, State state) {
    if (pace.compute() == 0 || pace.read() > pace.compute() || patienceNanos < 0) {
      return false;
    }
    if (patienceNanos == 0) {
      patienceNanos = (long) pace.compute();
    }
    long begun = System.nanoTime();
    states.awaitChange(i, state, patienceNanos);
    long left = patienceNanos - (System.nanoTime() - begun);
    patienceNanos = left == 0 ? -1 : left;
    return states.of(i) != state;
  }

  private void compute(int i) {
    long begun = System.nanoTime();
    compute.accept(tokens, i);
    pace.computed(System.nanoTime() - begun);
    computed[i] = true;
    Check.that(states.move(i, State.COMPUTING, State.DONE), "Chunk %d was taken while computed", i);
  }
}

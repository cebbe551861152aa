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
  /** Before the first wait. */
  private static final double UNUSED = -1;

  private final ObjIntConsumer<int[]> compute;
  private final ComputePace pace;
  private final Claims claims;
  final int[] tokens;
  final PrefixKey[] keys;
  final StoredChunk[] stored;
  final ChunkStates states;

  /** By chunk, those that may be loaded and the last whole one behind them. */
  final boolean[] computed;

  /** Leading chunks that were in memory. */
  final int reused;

  Walk walk;

  /** Nanoseconds that may still be waited. */
  private double patience = UNUSED;

  /**
   * @param compute computes a chunk of these tokens and returns when it is in the cache
   * @param loadable chunks that either side may get
   */
  Front(
      ObjIntConsumer<int[]> compute,
      ComputePace pace,
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
          boolean loadable = stored[i] != null && claims.mayLoad(i);
          if (loadable && !claims.mayCompute(i)) {
            states.awaitChange(i, state, Long.MAX_VALUE);
          } else if ((!loadable || !changedInTime(i, state, open(i)))
              && states.move(i, state, State.COMPUTING)) {
            compute(i);
            return;
          }
          break;
        case FAILED:
          if (states.move(i, state, State.COMPUTING)) {
            compute(i);
            return;
          }
          break;
        case READING:
          if (!claims.mayCompute(i)) {
            states.awaitChange(i, state, Long.MAX_VALUE);
          } else if (!changedInTime(i, state, 0) && states.move(i, state, State.COMPUTING)) {
            walk.overtake(i);
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
        if (states.move(i, State.READING, State.COMPUTING)) {
          walk.overtake(i);
        } else if (!states.move(i, State.EMPTY, State.COMPUTING)) {
          Thread.onSpinWait();
        }
      }
    }
  }

  /** Stored chunks from this one on that nobody has. */
  private int open(int from) {
    int open = 0;
    for (int i = from; i < states.size(); i++) {
      open += stored[i] != null && states.of(i) == State.EMPTY ? 1 : 0;
    }
    return open;
  }

  /**
   * Waits for the loader where the plan says so. All waits of a prompt together cost at most the
   * time of computing one chunk, should the expectation be wrong.
   *
   * @return whether the chunk has another state now
   */
  private boolean changedInTime(int i, State state, int open) {
    double most =
        patience == UNUSED ? pace.cost().map(cost -> cost.of(i)).orElse(UNUSED) : patience;
    long nanos = (long) claims.waits(walk.facts(most), i, open);
    if (nanos <= 0) {
      return false;
    }
    walk.frontAt(i, open > 0);
    long begun = System.nanoTime();
    states.awaitChange(i, state, nanos);
    patience = Math.max(0, most - (System.nanoTime() - begun));
    return states.of(i) != state;
  }

  private void compute(int i) {
    walk.frontAt(i, false);
    long begun = System.nanoTime();
    compute.accept(tokens, i);
    pace.computed(i, System.nanoTime() - begun);
    computed[i] = true;
    Check.that(states.move(i, State.COMPUTING, State.DONE), "Chunk %d was taken while computed", i);
  }
}

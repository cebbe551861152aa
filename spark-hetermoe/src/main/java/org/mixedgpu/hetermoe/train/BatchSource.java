package org.mixedgpu.hetermoe.train;

/**
 * Where the tokens of a step come from: a pure function, so that every member, also a restarted
 * one, sees the same batches without talking. Used by one thread at a time.
 */
@FunctionalInterface
public interface BatchSource {
  /**
   * Sequences [first, first + count) of the batch of a step, each of the job's sequence length. The
   * target of a token is the next one of its sequence; the last has none. Padding is a negative id:
   * it is no target, and what follows it in the sequence should be padding too.
   *
   * @param step from 1
   */
  int[][] sequences(long step, int first, int count);
}

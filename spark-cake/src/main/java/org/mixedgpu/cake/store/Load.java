package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;

/**
 * What became of one attempt to load a chunk.
 *
 * @param outcome what happened
 * @param payload the KV bytes, a part of the buffer given to the store; null unless loaded
 * @param problem one line for the row and the log; null if loaded
 */
public record Load(Outcome outcome, ByteBuffer payload, String problem) {
  /** Everything but {@link #LOADED} is a miss: the caller computes the chunk. */
  public enum Outcome {
    LOADED,
    /** The bundle is not there, or no longer. */
    MISSING,
    /** The bytes are not those that were written. */
    DAMAGED,
    /** The file system failed. */
    UNREADABLE,
    /** The caller did not want it any more. */
    ABANDONED
  }

  static Load of(ByteBuffer payload) {
    return new Load(Outcome.LOADED, payload, null);
  }

  static Load miss(Outcome outcome, String problem) {
    return new Load(outcome, null, problem);
  }

  public boolean loaded() {
    return outcome == Outcome.LOADED;
  }
}

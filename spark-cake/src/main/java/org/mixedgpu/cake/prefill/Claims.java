package org.mixedgpu.cake.prefill;

import org.mixedgpu.cake.plan.RaceFacts;
import org.mixedgpu.cake.plan.RacePlanner;

/** Who may take which chunk, and who should; tests force every split with it. Any thread. */
interface Claims {
  /** Whether the loader may begin to read this chunk. */
  boolean mayLoad(int chunk);

  /** Whether the compute side may take a stored chunk that is not loaded yet. */
  boolean mayCompute(int chunk);

  /** Whether a read of a chunk that both sides may take should begin now. */
  default boolean begins(RaceFacts facts, int chunk) {
    return RacePlanner.begins(facts, chunk);
  }

  /** As {@link RacePlanner#waits}, for a chunk that both sides may take. */
  default double waits(RaceFacts facts, int chunk, int open) {
    return RacePlanner.waits(facts, chunk, open);
  }

  /** All that the mode allows. */
  static Claims of(PrefillMode mode) {
    return new Claims() {
      @Override
      public boolean mayLoad(int chunk) {
        return mode != PrefillMode.COMPUTE;
      }

      @Override
      public boolean mayCompute(int chunk) {
        return mode != PrefillMode.LOAD;
      }
    };
  }
}

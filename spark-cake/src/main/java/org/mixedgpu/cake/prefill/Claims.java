package org.mixedgpu.cake.prefill;

/** Restricts who may take a chunk; tests force every split with it. Any thread. */
interface Claims {
  /** Whether the loader may begin to read this chunk. */
  boolean mayLoad(int chunk);

  /** Whether the compute side may take a stored chunk that is not loaded yet. */
  boolean mayCompute(int chunk);

  /** Whether the compute side may take a chunk that is being read. */
  default boolean mayOvertake(int chunk) {
    return mayCompute(chunk);
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

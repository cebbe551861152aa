package org.mixedgpu.hetermoe.train;

import org.mixedgpu.nn.Parameters;

/** Where a run's weights come from and go to, part by part: each rank reads and writes its own. */
public interface ModelParts {
  /** Fills the parameters of this rank before the first step. */
  void load(Parameters part);

  /**
   * Keeps the parameters of a rank after the last step. Whoever started the run makes the whole
   * visible once all members have returned, so that a member of an earlier attempt never can.
   */
  void save(int rank, Parameters part);

  /** Random initial weights, the same for every partition; the result is not kept. */
  static ModelParts random(long seed) {
    return new ModelParts() {
      @Override
      public void load(Parameters part) {
        part.initialize(seed);
      }

      @Override
      public void save(int rank, Parameters part) {}
    };
  }
}

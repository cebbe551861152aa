package org.mixedgpu.hetermoe.train;

import java.util.Optional;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.SavedShard;

/** Where a run's weights come from and go to, part by part: each rank reads and writes its own. */
public interface ModelParts {
  /** A rank's parameters before the first step; the caller closes them. */
  Parameters open(Backend backend, ModelConfig model, Part part);

  /**
   * Keeps a rank's parameters after the last step. What is kept is not visible to readers before
   * all parts are there; empty where this rank has nothing to add.
   */
  Optional<SavedShard> save(Backend backend, int rank, Parameters part);

  /** Random initial weights, the same for every partition; the result is not kept. */
  static ModelParts random(long seed) {
    return new ModelParts() {
      @Override
      public Parameters open(Backend backend, ModelConfig model, Part part) {
        Parameters parameters = Parameters.allocate(backend, model, part);
        parameters.initialize(seed);
        return parameters;
      }

      @Override
      public Optional<SavedShard> save(Backend backend, int rank, Parameters part) {
        return Optional.empty();
      }
    };
  }
}

package org.mixedgpu.hetermoe.train;

import org.mixedgpu.base.Check;
import org.mixedgpu.nn.AuxLoss;

/**
 * How one process trains.
 *
 * @param batch sequences of the global batch
 * @param sequence tokens of each
 * @param slices the global batch is computed in so many equal slices of consecutive sequences, one
 *     after the other
 * @param auxKind which balancing loss a MoE model uses; its coefficients are in the model's config
 */
public record TrainerConfig(
    int batch, int sequence, int slices, OptimizerConfig optimizer, AuxLoss.Kind auxKind) {
  public TrainerConfig {
    Check.input(
        batch > 0 && sequence > 1 && slices > 0 && batch % slices == 0,
        "Training needs a batch of a multiple of the slices and sequences of 2 tokens or more;"
            + " found %d sequences of %d tokens in %d slices",
        batch,
        sequence,
        slices);
  }
}

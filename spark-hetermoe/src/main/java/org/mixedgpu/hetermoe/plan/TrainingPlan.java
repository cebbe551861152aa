package org.mixedgpu.hetermoe.plan;

import java.io.Serializable;
import org.mixedgpu.base.Check;

/**
 * Who does what in a zebra-parallel step: ranks 0 to M−1 are attention ranks, M to M+N−1 expert
 * ranks. The batch of a step is cut into R micro-batches, each micro-batch into one slice per
 * attention rank; slices differ by at most one sequence.
 *
 * @param attentionRanks M
 * @param expertRanks N
 * @param microBatches R
 * @param batchSequences sequences of a step, of all ranks together
 * @param sequenceTokens tokens of a sequence
 */
public record TrainingPlan(
    int attentionRanks,
    int expertRanks,
    int microBatches,
    int batchSequences,
    int sequenceTokens,
    ExpertPlacement placement)
    implements Serializable {

  public TrainingPlan {
    Check.input(
        attentionRanks >= 1 && expertRanks >= 1 && microBatches >= 1 && sequenceTokens >= 1,
        "A plan needs one or more attention ranks, expert ranks, micro-batches and tokens per"
            + " sequence; found %d, %d, %d and %d",
        attentionRanks,
        expertRanks,
        microBatches,
        sequenceTokens);
    Check.input(
        batchSequences >= attentionRanks * microBatches,
        "A batch of %d sequences cannot be cut into %d micro-batches for %d attention ranks; use"
            + " at least %d sequences",
        batchSequences,
        microBatches,
        attentionRanks,
        attentionRanks * microBatches);
    Check.input(
        placement.ranks() == attentionRanks + expertRanks,
        "The experts are placed on %d ranks; the plan has %d + %d",
        placement.ranks(),
        attentionRanks,
        expertRanks);
  }

  /** The plan with experts spread evenly over the expert ranks. */
  public static TrainingPlan even(
      int[] expertsByLayer,
      int attentionRanks,
      int expertRanks,
      int microBatches,
      int batchSequences,
      int sequenceTokens) {
    return new TrainingPlan(
        attentionRanks,
        expertRanks,
        microBatches,
        batchSequences,
        sequenceTokens,
        ExpertPlacement.even(expertsByLayer, attentionRanks, expertRanks));
  }

  public int ranks() {
    return attentionRanks + expertRanks;
  }

  public Role role(int rank) {
    Check.input(rank >= 0 && rank < ranks(), "Rank %d is not among the %d ranks", rank, ranks());
    return rank < attentionRanks ? Role.ATTENTION : Role.EXPERT;
  }

  /** Whether a rank does a task of its role; an expert rank skips layers it has no experts of. */
  public boolean takesPart(int rank, Task task) {
    return role(rank) == Role.ATTENTION || placement.expertsOf(task.layer(), rank).length > 0;
  }

  /** Slices of a step; slice {@code microBatch · M + rank} is a rank's part of a micro-batch. */
  public int slices() {
    return attentionRanks * microBatches;
  }

  /** First sequence, in the batch, of an attention rank's part of a micro-batch. */
  public int firstSequence(int rank, int microBatch) {
    return cut(microBatch * attentionRanks + rank);
  }

  /** Sequences of an attention rank's part of a micro-batch. */
  public int sequences(int rank, int microBatch) {
    int slice = microBatch * attentionRanks + rank;
    return cut(slice + 1) - cut(slice);
  }

  private int cut(int slice) {
    return (int) ((long) batchSequences * slice / slices());
  }

  public ZebraSchedule schedule() {
    boolean[] moe = new boolean[placement.layers()];
    for (int layer = 0; layer < moe.length; layer++) {
      moe[layer] = placement.isMoe(layer);
    }
    return ZebraSchedule.of(moe, microBatches);
  }
}

package org.mixedgpu.hetermoe.plan;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.mixedgpu.base.Check;

/**
 * Which rank holds which expert, layer by layer. Any rank may hold any expert, attention ranks too;
 * nothing has to divide anything. Immutable.
 */
public final class ExpertPlacement implements Serializable {
  private static final long serialVersionUID = 1L;

  private final int ranks;
  private final int[][] owners;

  private ExpertPlacement(int ranks, int[][] owners) {
    this.ranks = ranks;
    this.owners = owners;
  }

  /**
   * A placement as given.
   *
   * @param ranks size of the gang
   * @param owners for each layer the rank of each expert; empty for a layer without experts
   */
  public static ExpertPlacement of(int ranks, int[][] owners) {
    int[][] copy = new int[owners.length][];
    for (int layer = 0; layer < owners.length; layer++) {
      copy[layer] = owners[layer].clone();
      for (int expert = 0; expert < copy[layer].length; expert++) {
        int owner = copy[layer][expert];
        Check.input(
            owner >= 0 && owner < ranks,
            "Expert %d of layer %d is placed on rank %d; there are %d ranks",
            expert,
            layer,
            owner,
            ranks);
      }
    }
    return new ExpertPlacement(ranks, copy);
  }

  /**
   * The experts of each layer over the expert ranks, in consecutive blocks whose sizes differ by at
   * most one. The larger blocks move on from layer to layer, so that the totals of two ranks differ
   * by at most one, too.
   *
   * @param experts experts of each layer, 0 where the layer is dense
   */
  public static ExpertPlacement even(int[] experts, int attentionRanks, int expertRanks) {
    Check.input(
        attentionRanks >= 1 && expertRanks >= 1,
        "A gang needs attention and expert ranks; found %d and %d",
        attentionRanks,
        expertRanks);
    int total = Arrays.stream(experts).sum();
    Check.input(
        total >= expertRanks,
        "Cannot place %d experts on %d expert ranks: some would hold none; use at most %d",
        total,
        expertRanks,
        total);
    int[][] owners = new int[experts.length][];
    int turn = 0;
    for (int layer = 0; layer < experts.length; layer++) {
      owners[layer] = new int[experts[layer]];
      int larger = experts[layer] % expertRanks;
      int expert = 0;
      for (int n = 0; n < expertRanks; n++) {
        int fromTurn = Math.floorMod(n - turn, expertRanks);
        int size = experts[layer] / expertRanks + (fromTurn < larger ? 1 : 0);
        Arrays.fill(owners[layer], expert, expert + size, attentionRanks + n);
        expert += size;
      }
      turn = (turn + larger) % expertRanks;
    }
    return new ExpertPlacement(attentionRanks + expertRanks, owners);
  }

  public int ranks() {
    return ranks;
  }

  public int layers() {
    return owners.length;
  }

  /** Experts of a layer; 0 where it is dense. */
  public int experts(int layer) {
    return owners[layer].length;
  }

  public boolean isMoe(int layer) {
    return owners[layer].length > 0;
  }

  public int owner(int layer, int expert) {
    return owners[layer][expert];
  }

  /** The experts of a layer that a rank holds, ascending; may be none. */
  public int[] expertsOf(int layer, int rank) {
    int[] of = owners[layer];
    int[] held = new int[of.length];
    int count = 0;
    for (int expert = 0; expert < of.length; expert++) {
      if (of[expert] == rank) {
        held[count++] = expert;
      }
    }
    return Arrays.copyOf(held, count);
  }

  /** {@link #expertsOf(int, int)} for every layer. */
  public int[][] expertsOf(int rank) {
    int[][] held = new int[owners.length][];
    for (int layer = 0; layer < owners.length; layer++) {
      held[layer] = expertsOf(layer, rank);
    }
    return held;
  }

  /** The experts of a layer as runs, by first expert. */
  public List<ExpertRun> runs(int layer) {
    List<ExpertRun> runs = new ArrayList<>();
    int[] of = owners[layer];
    int first = 0;
    for (int expert = 1; expert <= of.length; expert++) {
      if (expert == of.length || of[expert] != of[first]) {
        runs.add(new ExpertRun(of[first], first, expert - first));
        first = expert;
      }
    }
    return runs;
  }

  /** The runs of one rank, by first expert. */
  public List<ExpertRun> runs(int layer, int rank) {
    return runs(layer).stream().filter(run -> run.rank() == rank).toList();
  }
}

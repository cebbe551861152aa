package org.mixedgpu.cake.plan;

import java.util.Locale;

/**
 * What a plan expects, in tokens.
 *
 * @param prompts rows with something to compute
 * @param tasks tasks that have work
 * @param totalTokens of all prompts: what computing every prompt alone would cost
 * @param distinctTokens of the trie of all prompts: the least that must be computed or loaded
 * @param storedTokens of the distinct ones, those in the cache already
 * @param plannedTokens computed or loaded under this plan: distinct ones, and again the shared path
 *     of every task but the first that needs it
 * @param largestTaskCost and
 * @param meanTaskCost in tokens to compute, loads counted at their weight
 */
public record PlanSummary(
    long prompts,
    int tasks,
    long totalTokens,
    long distinctTokens,
    long storedTokens,
    long plannedTokens,
    double largestTaskCost,
    double meanTaskCost) {

  /** The share of all tokens that need not be computed when nothing is stored; at most this. */
  public double savingBound() {
    return share(totalTokens - distinctTokens);
  }

  /** The share that this plan's reuse in memory saves. */
  public double plannedSaving() {
    return share(totalTokens - plannedTokens);
  }

  /**
   * What a run achieved beside what was possible.
   *
   * @param computed tokens computed
   * @param loaded tokens loaded from the store
   * @param reused tokens found in memory
   */
  public String achieved(long computed, long loaded, long reused) {
    return String.format(
        Locale.ROOT,
        "%d tokens: %d computed, %d loaded, %d reused in memory; %.1f%% not computed. Sharing"
            + " within this data allows at most %.1f%%, and the cache held another %.1f%%",
        totalTokens,
        computed,
        loaded,
        reused,
        100 * share(loaded + reused),
        100 * savingBound(),
        100 * share(storedTokens));
  }

  public String describe() {
    return String.format(
        Locale.ROOT,
        "%d prompts, %d tokens, %d distinct (sharing saves at most %.1f%%), %d of these stored; %d"
            + " tasks handle %d tokens (%.1f%% saved), largest task %.2f times the mean",
        prompts,
        totalTokens,
        distinctTokens,
        100 * savingBound(),
        storedTokens,
        tasks,
        plannedTokens,
        100 * plannedSaving(),
        meanTaskCost == 0 ? 1 : largestTaskCost / meanTaskCost);
  }

  private double share(long tokens) {
    return totalTokens == 0 ? 0 : (double) tokens / totalTokens;
  }
}

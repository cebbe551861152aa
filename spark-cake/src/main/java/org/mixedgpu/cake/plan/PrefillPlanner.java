package org.mixedgpu.cake.plan;

import java.util.Arrays;
import java.util.List;
import org.mixedgpu.base.Check;

/**
 * Plans a dataset's prefill. The prompts in lexicographic order of their prefix words are the
 * leaves of the prefix trie in depth-first order, so that a task which takes consecutive prompts
 * and keeps the current path in memory meets every shared prefix once. The sequence is cut into one
 * piece per task such that the dearest piece is as cheap as any cut into consecutive pieces allows,
 * a shared path being paid again by every piece that needs it; among cuts within {@value
 * #SLACK_PERCENT} % of that, those that share least with their neighbour are taken.
 *
 * <p>Same facts, same plan, on every JVM. Time: sorting, plus about 60 passes over the prompts.
 */
public final class PrefillPlanner {
  static final int SLACK_PERCENT = 5;

  private final int chunkTokens;
  private final double loadWeight;

  /**
   * @param chunkTokens tokens of one chunk
   * @param loadWeight cost of loading a token, where computing one costs 1
   */
  public PrefillPlanner(int chunkTokens, double loadWeight) {
    Check.input(chunkTokens > 0, "chunkTokens must be positive; found %d", chunkTokens);
    Check.input(
        loadWeight >= 0 && loadWeight <= 1,
        "The weight of a load must be in [0, 1], computing being 1; found %s",
        loadWeight);
    this.chunkTokens = chunkTokens;
    this.loadWeight = loadWeight;
  }

  /**
   * @param prompts in the dataset's order, which is the order of indexes in the plan
   * @param stored words of the chunks in the cache, sorted or not
   * @param tasks how many there may be; fewer get work if there are fewer distinct prompts
   */
  public PrefillPlan plan(List<PromptFacts> prompts, long[] stored, int tasks) {
    Check.input(tasks > 0, "A plan needs a task; found %d", tasks);
    long[] cached = stored.clone();
    Arrays.sort(cached);
    Integer[] order = depthFirst(prompts);
    Leaves leaves = new Leaves(prompts, order, cached);
    int[] starts = cut(leaves, tasks);

    int n = prompts.size();
    int[] task = new int[n];
    int[] position = new int[n];
    int[] shared = new int[n];
    int[] owned = new int[n];
    long planned = 0;
    double largest = 0;
    double total = 0;
    for (int t = 0; t < starts.length; t++) {
      int end = t + 1 < starts.length ? starts[t + 1] : n;
      // Chunks that the piece before has as well are that piece's to write, or an earlier one's.
      int lead = starts[t] == 0 ? 0 : leaves.common[starts[t]];
      double cost = 0;
      for (int leaf = starts[t]; leaf < end; leaf++) {
        int prompt = order[leaf];
        task[prompt] = t;
        position[prompt] = leaf - starts[t];
        shared[prompt] = leaves.shared(leaf);
        lead = leaf == starts[t] ? lead : Math.min(lead, leaves.common[leaf]);
        owned[prompt] = lead;
        int reused = leaf == starts[t] ? 0 : leaves.common[leaf];
        planned += leaves.tokens(leaf) - (long) reused * chunkTokens;
        cost += leaves.cost(leaf, reused);
      }
      largest = Math.max(largest, cost);
      total += cost;
    }
    PlanSummary summary =
        leaves.summary(starts.length, planned, largest, total / Math.max(1, starts.length));
    return new PrefillPlan(starts.length, task, position, shared, owned, summary);
  }

  private static Integer[] depthFirst(List<PromptFacts> prompts) {
    Integer[] order = new Integer[prompts.size()];
    Arrays.setAll(order, i -> i);
    Arrays.sort(
        order,
        (a, b) -> {
          PromptFacts x = prompts.get(a);
          PromptFacts y = prompts.get(b);
          int byWords = Arrays.compare(x.chunks(), y.chunks());
          if (byWords != 0) {
            return byWords;
          }
          int byTokens = Integer.compare(x.tokens(), y.tokens());
          return byTokens != 0 ? byTokens : Integer.compare(a, b);
        });
    return order;
  }

  /** The first leaf of each piece. */
  private static int[] cut(Leaves leaves, int tasks) {
    int n = leaves.size();
    if (n == 0) {
      return new int[0];
    }
    double low = 0;
    double high = leaves.pieceCost(0, n);
    for (int leaf = 0; leaf < n; leaf++) {
      low = Math.max(low, leaves.cost(leaf, 0));
    }
    int[] best = leaves.pieces(high, false);
    // The cost of a piece grows with the piece, so that "enough tasks for limit x" is monotone.
    for (int i = 0; i < 50 && low < high; i++) {
      double limit = (low + high) / 2;
      int[] pieces = leaves.pieces(limit, false);
      if (pieces.length <= tasks) {
        best = pieces;
        high = limit;
      } else {
        low = limit;
      }
    }
    int[] tidy = leaves.pieces(high * (100 + SLACK_PERCENT) / 100, true);
    return tidy.length <= tasks ? tidy : best;
  }

  /** The trie's leaves in depth-first order. */
  private final class Leaves {
    private final PromptFacts[] leaf;

    /** Chunks that a leaf has in common with the one before. */
    private final int[] common;

    /** Of a leaf's chunks, the prefix sums of what each costs to get. */
    private final double[][] chunkCost;

    private final long[] cached;

    Leaves(List<PromptFacts> prompts, Integer[] order, long[] cached) {
      this.cached = cached;
      leaf = new PromptFacts[order.length];
      common = new int[order.length];
      chunkCost = new double[order.length][];
      for (int i = 0; i < order.length; i++) {
        leaf[i] = prompts.get(order[i]);
        Check.input(
            (long) leaf[i].chunks().length * chunkTokens <= leaf[i].tokens(),
            "A prompt of %d tokens can't have %d chunks of %d",
            leaf[i].tokens(),
            leaf[i].chunks().length,
            chunkTokens);
        common[i] = i == 0 ? 0 : commonChunks(leaf[i - 1].chunks(), leaf[i].chunks());
        chunkCost[i] = new double[leaf[i].chunks().length + 1];
        for (int c = 0; c < leaf[i].chunks().length; c++) {
          chunkCost[i][c + 1] =
              chunkCost[i][c] + chunkTokens * (isStored(leaf[i].chunks()[c]) ? loadWeight : 1);
        }
      }
    }

    int size() {
      return leaf.length;
    }

    long tokens(int i) {
      return leaf[i].tokens();
    }

    /** Leading chunks that a neighbour has as well: in this order nobody else can share more. */
    int shared(int i) {
      return Math.max(common[i], i + 1 < leaf.length ? common[i + 1] : 0);
    }

    /** Tokens to compute for a leaf whose first chunks are in memory, loads at their weight. */
    double cost(int i, int reused) {
      int chunks = leaf[i].chunks().length;
      double rest = leaf[i].tokens() - (double) chunks * chunkTokens;
      return chunkCost[i][chunks] - chunkCost[i][reused] + rest;
    }

    double pieceCost(int from, int to) {
      double sum = 0;
      for (int i = from; i < to; i++) {
        sum += cost(i, i == from ? 0 : common[i]);
      }
      return sum;
    }

    /**
     * Cuts greedily, each piece as long as the limit allows.
     *
     * @param tidy ends a piece earlier, in its last eighth, where less is shared across the cut
     */
    int[] pieces(double limit, boolean tidy) {
      int[] starts = new int[16];
      int count = 0;
      int from = 0;
      while (from < leaf.length) {
        starts = count == starts.length ? Arrays.copyOf(starts, 2 * count) : starts;
        starts[count++] = from;
        double sum = cost(from, 0);
        int to = from + 1;
        int cut = -1;
        while (to < leaf.length && sum + cost(to, common[to]) <= limit) {
          if (sum >= limit * 7 / 8 && (cut < 0 || common[to] <= common[cut])) {
            cut = to;
          }
          sum += cost(to, common[to]);
          to++;
        }
        boolean better = tidy && to < leaf.length && cut > 0 && common[cut] < common[to];
        from = better ? cut : to;
      }
      return Arrays.copyOf(starts, count);
    }

    PlanSummary summary(int tasks, long planned, double largest, double mean) {
      long rows = 0;
      long total = 0;
      long distinct = 0;
      long stored = 0;
      for (int i = 0; i < leaf.length; i++) {
        rows += leaf[i].tokens() > 0 ? 1 : 0;
        total += leaf[i].tokens();
        distinct += leaf[i].tokens() - (long) common[i] * chunkTokens;
        for (int c = common[i]; c < leaf[i].chunks().length; c++) {
          stored += isStored(leaf[i].chunks()[c]) ? chunkTokens : 0;
        }
      }
      return new PlanSummary(rows, tasks, total, distinct, stored, planned, largest, mean);
    }

    private boolean isStored(long word) {
      return Arrays.binarySearch(cached, word) >= 0;
    }
  }

  private static int commonChunks(long[] a, long[] b) {
    int mismatch = Arrays.mismatch(a, b);
    return mismatch < 0 ? a.length : mismatch;
  }
}

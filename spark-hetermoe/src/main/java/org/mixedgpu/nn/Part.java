package org.mixedgpu.nn;

import java.util.Arrays;
import org.mixedgpu.base.Check;

/**
 * Which part of a model's parameters one member holds: everything that is not an expert, or not;
 * and which experts of each layer.
 */
public final class Part {
  private final boolean core;
  private final int[][] experts;

  private Part(boolean core, int[][] experts) {
    this.core = core;
    this.experts = experts;
  }

  /** The whole model. */
  public static Part all() {
    return new Part(true, null);
  }

  /** Everything but routed experts: what an attention member holds. */
  public static Part withoutExperts() {
    return new Part(true, new int[0][]);
  }

  /** Everything that is not an expert, and these experts of each layer. */
  public static Part withExperts(int[][] expertIdsByLayer) {
    return new Part(true, ascending(expertIdsByLayer));
  }

  /**
   * These experts only, by decoder layer, ascending in each; an empty array for a dense layer: what
   * an expert member holds.
   */
  public static Part experts(int[][] expertIdsByLayer) {
    return new Part(false, ascending(expertIdsByLayer));
  }

  /** Whether embedding, attention, norms, routers, shared experts and the LM head are included. */
  public boolean core() {
    return core;
  }

  /** Ids of the included experts of a layer, ascending; empty for a dense layer. */
  public int[] experts(ModelConfig config, int layer) {
    if (!config.isMoe(layer)) {
      return new int[0];
    }
    if (experts == null) {
      int[] every = new int[config.requireMoe().experts()];
      Arrays.setAll(every, e -> e);
      return every;
    }
    return layer < experts.length ? experts[layer].clone() : new int[0];
  }

  private static int[][] ascending(int[][] expertIdsByLayer) {
    int[][] copy = new int[expertIdsByLayer.length][];
    for (int layer = 0; layer < copy.length; layer++) {
      copy[layer] = expertIdsByLayer[layer].clone();
      for (int i = 1; i < copy[layer].length; i++) {
        Check.input(
            copy[layer][i - 1] < copy[layer][i],
            "Expert ids of layer %d must ascend; found %s",
            layer,
            Arrays.toString(copy[layer]));
      }
    }
    return copy;
  }
}

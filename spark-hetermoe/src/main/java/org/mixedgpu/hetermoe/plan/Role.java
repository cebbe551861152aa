package org.mixedgpu.hetermoe.plan;

/**
 * The two sides of zebra parallelism. Ranks number the attention members first, then the experts.
 */
public enum Role {
  /** Holds a replica of everything that is not an expert, on the newer GPUs. */
  ATTENTION("attention"),
  /** Holds experts only, on the older GPUs. */
  EXPERT("expert");

  private final String word;

  Role(String word) {
    this.word = word;
  }

  @Override
  public String toString() {
    return word;
  }
}

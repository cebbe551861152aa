package org.mixedgpu.hetermoe.spark.gang;

/** What a member of a gang does. Ranks number the attention members first, then the experts. */
public enum Role {
  /** Everything of the model that is not an expert, on the newer GPUs. */
  ATTENTION("attention"),
  /** The experts, on the older GPUs. */
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

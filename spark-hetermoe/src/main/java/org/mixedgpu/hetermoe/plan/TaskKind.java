package org.mixedgpu.hetermoe.plan;

/** Kinds of work in a training step; the label is the letter of the paper, used in plots. */
public enum TaskKind {
  /** All of a decoder layer that is not an expert, on an attention rank. */
  ATTENTION("A"),
  /** The experts of a layer that live on one rank. */
  EXPERT("E"),
  /** Tokens to the experts; backward: gradients of these tokens back to the attention ranks. */
  DISPATCH("D"),
  /** Results of experts back to the tokens; backward: their gradients to the experts. */
  COMBINE("C"),
  /** The stage after the last expert: trailing dense layers, norm, LM head and loss. */
  HEAD("H"),
  /** Gradient all-reduce, clipping and optimizer, after the schedule's tasks. */
  UPDATE("U");

  private final String label;

  TaskKind(String label) {
    this.label = label;
  }

  public String label() {
    return label;
  }
}

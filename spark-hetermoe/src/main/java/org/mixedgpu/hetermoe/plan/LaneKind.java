package org.mixedgpu.hetermoe.plan;

import java.util.Locale;

/** The three lanes of a rank. */
public enum LaneKind {
  COMPUTE,
  /** Traffic from attention to expert ranks, in both passes. */
  DISPATCH,
  /** Traffic from expert to attention ranks, in both passes. */
  COMBINE;

  /** Name of the lane's channel, and in plots. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}

package org.mixedgpu.hetermoe.plan;

/** The two sides of zebra parallelism. */
public enum Role {
  /** Holds a replica of everything that is not an expert. */
  ATTENTION,
  /** Holds experts only. */
  EXPERT
}

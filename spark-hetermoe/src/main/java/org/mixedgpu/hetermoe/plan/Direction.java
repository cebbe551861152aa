package org.mixedgpu.hetermoe.plan;

/** Which pass a task belongs to. */
public enum Direction {
  FORWARD,
  BACKWARD
}

package org.mixedgpu.hetermoe.plan;

/** How long tasks take: measured by a profile, taken from a catalogue, or assumed. */
@FunctionalInterface
public interface TaskTimes {
  /** Nanoseconds of a task on a rank; for a communication lane what its own link needs. */
  long nanos(int rank, Task task);
}

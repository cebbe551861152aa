package org.mixedgpu.cake.plan;

import org.mixedgpu.base.Check;

/** Who computes what, in which order. Immutable. */
public final class PrefillPlan {

  private final int tasks;
  private final int[] task;
  private final int[] position;
  private final int[] readers;
  private final int[] firstOwned;
  private final PlanSummary summary;

  PrefillPlan(
      int tasks, int[] task, int[] position, int[] readers, int[] firstOwned, PlanSummary summary) {
    this.tasks = tasks;
    this.task = task;
    this.position = position;
    this.readers = readers;
    this.firstOwned = firstOwned;
    this.summary = summary;
  }

  /**
   * One prompt's part of the plan.
   *
   * @param task 0 to tasks-1
   * @param position in its task, from 0 without gaps
   * @param sharedChunks leading chunks that some other prompt has too
   * @param firstOwned of the chunks from this one on, this prompt's task is the one that writes
   *     them if anybody does
   */
  public record Assignment(int task, int position, int sharedChunks, int firstOwned) {}

  public int tasks() {
    return tasks;
  }

  public int prompts() {
    return task.length;
  }

  /** The part of the plan for the prompt of this index. */
  public Assignment assignment(int prompt) {
    Check.input(
        prompt >= 0 && prompt < task.length,
        "The plan is for %d prompts; asked for prompt %d",
        task.length,
        prompt);
    return new Assignment(task[prompt], position[prompt], readers[prompt], firstOwned[prompt]);
  }

  public PlanSummary summary() {
    return summary;
  }
}

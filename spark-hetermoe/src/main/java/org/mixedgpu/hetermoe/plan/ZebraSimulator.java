package org.mixedgpu.hetermoe.plan;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.mixedgpu.base.Check;

/**
 * Predicts the timeline of a step: each lane does its tasks in the schedule's order, each as soon
 * as the lane is free and what it needs is there. A message flows through sender and receiver at
 * once: the receiver starts with the first sender and ends when its own link and the last sender
 * have. The update at the end of a step is not predicted.
 */
public final class ZebraSimulator {
  private final TrainingPlan plan;
  private final ZebraSchedule schedule;
  private final TaskTimes times;
  private final List<Queue> queues = new ArrayList<>();
  private final List<Timeline.Event> events = new ArrayList<>();
  private final List<Map<Task, Timeline.Event>> done = new ArrayList<>();

  private static final class Queue {
    final int rank;
    final List<Task> tasks;
    int next;
    long free;

    Queue(int rank, List<Task> tasks) {
      this.rank = rank;
      this.tasks = tasks;
    }
  }

  private ZebraSimulator(TrainingPlan plan, TaskTimes times) {
    this.plan = plan;
    this.schedule = plan.schedule();
    this.times = times;
    for (int rank = 0; rank < plan.ranks(); rank++) {
      done.add(new HashMap<>());
      for (LaneKind lane : LaneKind.values()) {
        int of = rank;
        List<Task> tasks =
            schedule.tasks(plan.role(rank), lane).stream()
                .filter(task -> plan.takesPart(of, task))
                .toList();
        queues.add(new Queue(rank, tasks));
      }
    }
  }

  /** The timeline of one step under this plan if tasks take these times. */
  public static Timeline predict(TrainingPlan plan, TaskTimes times) {
    ZebraSimulator simulator = new ZebraSimulator(plan, times);
    simulator.run();
    return new Timeline(plan.attentionRanks(), plan.ranks(), simulator.events);
  }

  private void run() {
    boolean progress = true;
    while (progress) {
      progress = false;
      for (Queue queue : queues) {
        while (queue.next < queue.tasks.size() && step(queue)) {
          progress = true;
        }
      }
    }
    for (Queue queue : queues) {
      Check.that(
          queue.next == queue.tasks.size(),
          "The schedule of rank %d never gets to %s",
          queue.rank,
          queue.next < queue.tasks.size() ? queue.tasks.get(queue.next) : "its end");
    }
  }

  private boolean step(Queue queue) {
    Task task = queue.tasks.get(queue.next);
    long start = queue.free;
    long end;
    long nanos = times.nanos(queue.rank, task);
    if (task.isReceivedBy(plan.role(queue.rank))) {
      long firstStart = Long.MAX_VALUE;
      long lastEnd = 0;
      for (int peer = 0; peer < plan.ranks(); peer++) {
        if (plan.role(peer) != plan.role(queue.rank) && plan.takesPart(peer, task)) {
          Timeline.Event sent = done.get(peer).get(task);
          if (sent == null) {
            return false;
          }
          firstStart = Math.min(firstStart, sent.startNanos());
          lastEnd = Math.max(lastEnd, sent.endNanos());
        }
      }
      start = Math.max(start, firstStart);
      end = Math.max(start + nanos, lastEnd);
    } else {
      Task needs = schedule.dependency(task);
      if (needs != null) {
        Timeline.Event needed = done.get(queue.rank).get(needs);
        if (needed == null) {
          return false;
        }
        start = Math.max(start, needed.endNanos());
      }
      end = start + nanos;
    }
    Timeline.Event event = new Timeline.Event(queue.rank, task, start, end);
    done.get(queue.rank).put(task, event);
    events.add(event);
    queue.free = end;
    queue.next++;
    return true;
  }
}

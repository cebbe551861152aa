package org.mixedgpu.hetermoe.train;

import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Stamp;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.Timeline;

/**
 * When a member's tasks began and ended, by its device: a stamp on each side of a task, on the
 * task's lane. What the lane awaits comes before the first, so that waiting is not work. Stamps are
 * read once the lanes are done, so that measuring makes none of them wait. {@link #around} may be
 * called by several lanes at a time, everything else by the member's main thread.
 */
final class TaskStamps implements AutoCloseable {
  private record Span(Task task, Stamp start, Stamp end) {}

  private final Backend backend;
  private final int rank;
  private final List<Span> spans = new ArrayList<>();
  private final List<Timeline.Event> events = new ArrayList<>();
  private long busyNanos;

  /** Null until events are recorded. */
  private volatile Stamp origin;

  TaskStamps(Backend backend, int rank) {
    this.backend = backend;
    this.rank = rank;
  }

  /** Does a task's work, in its lane's thread. */
  void around(Task task, Runnable work) {
    if (origin == null && task.lane() != LaneKind.COMPUTE) {
      work.run();
      return;
    }
    Stamp start = backend.stamp();
    Stamp end;
    try {
      work.run();
      end = backend.stamp();
    } catch (Throwable e) {
      start.close();
      throw e;
    }
    synchronized (spans) {
      spans.add(new Span(task, start, end));
    }
  }

  /** Time in which the compute lane had work since the last call; its tasks are done. */
  long takeBusyNanos() {
    read();
    long taken = busyNanos;
    busyNanos = 0;
    return taken;
  }

  /** From now on all lanes' tasks are events, with times counted from now. */
  void startRecording() {
    read();
    origin = backend.stamp();
  }

  /** What was recorded so far; the tasks are done. */
  List<Timeline.Event> recorded() {
    read();
    return List.copyOf(events);
  }

  private void read() {
    synchronized (spans) {
      for (Span span : spans) {
        if (span.task.lane() == LaneKind.COMPUTE) {
          busyNanos += span.end.nanosSince(span.start);
        }
        if (origin != null) {
          events.add(
              new Timeline.Event(
                  rank, span.task, span.start.nanosSince(origin), span.end.nanosSince(origin)));
        }
      }
      giveBack();
    }
  }

  private void giveBack() {
    synchronized (spans) {
      for (Span span : spans) {
        span.start.close();
        span.end.close();
      }
      spans.clear();
    }
  }

  /** Gives back all stamps, also those of a step that failed; the lanes have ended. */
  @Override
  public void close() {
    giveBack();
    if (origin != null) {
      origin.close();
    }
  }
}

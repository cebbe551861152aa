package org.mixedgpu.hetermoe.train.bench;

import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.mixedgpu.backend.bench.Samples;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.TaskKind;
import org.mixedgpu.hetermoe.plan.TaskTimes;
import org.mixedgpu.hetermoe.plan.Timeline;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.plan.ZebraSimulator;
import org.mixedgpu.hetermoe.train.StepReport;

/**
 * What a run of one attention and one expert rank took.
 *
 * @param reports of its steps after the warm-up
 * @param timeline of both ranks in the last step
 */
record ZebraTimes(List<StepReport> reports, Timeline timeline) {
  private static final double MILLION = 1e6;

  StepReport last() {
    return reports.get(reports.size() - 1);
  }

  /** Wall seconds. */
  Samples steps() {
    return new Samples(reports.stream().mapToDouble(StepReport::seconds).toArray());
  }

  /** Milliseconds of a rank's compute tasks in a step, head and update included: the median. */
  double compute(int rank) {
    return new Samples(
            reports.stream()
                .mapToDouble(r -> 1e3 * r.busyShares().get(rank) * r.seconds())
                .toArray())
        .median();
  }

  /** Milliseconds of a rank's update. */
  double update(int rank) {
    return timeline.events().stream()
            .filter(e -> e.rank() == rank && e.task().kind() == TaskKind.UPDATE)
            .mapToLong(e -> e.endNanos() - e.startNanos())
            .sum()
        / MILLION;
  }

  double stepMillis() {
    return 1e3 * steps().median();
  }

  /** Mean milliseconds from a message's rows being ready to their arrival. */
  double messageMillis() {
    return sent().stream()
        .mapToDouble(e -> (e.endNanos() - e.startNanos()) / MILLION)
        .average()
        .orElse(Double.NaN);
  }

  double bytesOfMessage() {
    return (double) last().bytesSent() / sent().size();
  }

  private List<Timeline.Event> sent() {
    return timeline.events().stream()
        .filter(e -> e.task().lane() != LaneKind.COMPUTE)
        .filter(e -> !e.task().isReceivedBy(e.rank() == 0 ? Role.ATTENTION : Role.EXPERT))
        .toList();
  }

  /**
   * What the simulator predicts for a step, in milliseconds, if computing takes as long as here.
   *
   * @param messages a run whose messages take as long as the step's
   */
  double predict(TrainingPlan plan, ZebraTimes messages) {
    Map<String, Long> computing = means();
    Map<String, Long> sending = messages.means();
    TaskTimes times =
        (rank, task) -> {
          if (task.lane() == LaneKind.COMPUTE) {
            return computing.get(key(rank, task));
          }
          // A receiver's own time is that of waiting.
          boolean receives = task.isReceivedBy(rank == 0 ? Role.ATTENTION : Role.EXPERT);
          return receives ? 0 : sending.get(key(rank, task));
        };
    double tasks = ZebraSimulator.predict(plan, times).spanNanos() / MILLION;
    return tasks + Math.max(update(0), update(1));
  }

  /** Nanoseconds of a task of a kind and direction on a rank. */
  private Map<String, Long> means() {
    return timeline.events().stream()
        .collect(
            Collectors.groupingBy(
                e -> key(e.rank(), e.task()),
                Collectors.collectingAndThen(
                    Collectors.averagingLong(e -> e.endNanos() - e.startNanos()), Math::round)));
  }

  private static String key(int rank, Task task) {
    return rank + " " + task.kind() + " " + task.direction();
  }
}

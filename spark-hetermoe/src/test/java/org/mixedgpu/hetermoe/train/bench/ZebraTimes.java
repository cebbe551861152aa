package org.mixedgpu.hetermoe.train.bench;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
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

  /** Milliseconds of a rank's compute tasks in a step, but the update: the median of all steps. */
  double compute(int rank) {
    double[] busy =
        reports.stream().mapToDouble(r -> 1e3 * r.busyShares().get(rank) * r.seconds()).toArray();
    return new Samples(busy).median() - update(rank);
  }

  /** Milliseconds of a rank's update. */
  double update(int rank) {
    return timeline.events().stream()
            .filter(e -> e.rank() == rank && e.task().kind() == TaskKind.UPDATE)
            .mapToLong(e -> e.endNanos() - e.startNanos())
            .sum()
        / MILLION;
  }

  /** Milliseconds that a rank computes for so many of this run's micro-batch, and one update. */
  double pure(int rank, int microBatches) {
    return microBatches * compute(rank) + update(rank);
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
   * Milliseconds of a step under a plan whose micro-batches take as long as this run's one.
   *
   * @param exchange whether messages take their time, or none
   */
  double predict(TrainingPlan plan, boolean exchange) {
    Map<String, long[]> sums = new HashMap<>();
    for (Timeline.Event event : timeline.events()) {
      long[] sum = sums.computeIfAbsent(key(event.rank(), event.task()), k -> new long[2]);
      sum[0] += event.endNanos() - event.startNanos();
      sum[1]++;
    }
    TaskTimes times =
        (rank, task) -> {
          boolean computes = task.lane() == LaneKind.COMPUTE;
          boolean receives = task.isReceivedBy(rank == 0 ? Role.ATTENTION : Role.EXPERT);
          // A receiver's own time is that of waiting.
          if (receives || !computes && !exchange) {
            return 0;
          }
          long[] sum = sums.get(key(rank, task));
          return sum[0] / sum[1];
        };
    double tasks = ZebraSimulator.predict(plan, times).spanNanos() / MILLION;
    return tasks + Math.max(update(0), update(1));
  }

  private static String key(int rank, Task task) {
    return rank + " " + task.kind() + " " + task.direction();
  }
}

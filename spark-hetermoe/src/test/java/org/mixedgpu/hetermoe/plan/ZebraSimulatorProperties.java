package org.mixedgpu.hetermoe.plan;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import net.jqwik.api.Example;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;

/** The simulator against closed forms that hold for constant task times, M = N = 1. */
class ZebraSimulatorProperties {

  /** Forward times of one layer and micro-batch; backward and head cost nothing. */
  private record Times(long a, long d, long e, long c) implements TaskTimes {
    @Override
    public long nanos(int rank, Task task) {
      if (task.direction() == Direction.BACKWARD) {
        return 0;
      }
      return switch (task.kind()) {
        case ATTENTION -> a;
        case DISPATCH -> d;
        case EXPERT -> e;
        case COMBINE -> c;
        case HEAD, UPDATE -> 0;
      };
    }

    long roundTrip() {
      return a + d + e + c;
    }
  }

  @Property
  void oneMicroBatchTakesTheSumOfAllTasks(
      @ForAll @IntRange(min = 1, max = 9) int layers,
      @ForAll @IntRange(min = 1, max = 50) int a,
      @ForAll @IntRange(max = 50) int d,
      @ForAll @IntRange(min = 1, max = 50) int e,
      @ForAll @IntRange(max = 50) int c) {
    Times times = new Times(a, d, e, c);
    assertThat(span(layers, 1, times)).isEqualTo(layers * times.roundTrip());
  }

  @Property
  void enoughMicroBatchesLeaveOnlyTheFill(
      @ForAll @IntRange(min = 1, max = 9) int layers,
      @ForAll @IntRange(max = 6) int more,
      @ForAll @IntRange(min = 1, max = 50) int a,
      @ForAll @IntRange(max = 50) int d,
      @ForAll @IntRange(min = 1, max = 50) int e,
      @ForAll @IntRange(max = 50) int c) {
    long bound = Math.max(a, e);
    Times times = new Times(a, Math.min(d, bound), e, Math.min(c, bound));
    int least = (int) ((times.roundTrip() + bound - 1) / bound);
    int microBatches = least + more;
    long steady = layers * microBatches * bound;
    long fill = times.roundTrip() - bound;
    assertThat(span(layers, microBatches, times)).isEqualTo(steady + fill);
  }

  @Property
  void fewerMicroBatchesThanTheLeastStallEveryLayer(
      @ForAll @IntRange(min = 2, max = 9) int layers,
      @ForAll @IntRange(min = 1, max = 50) int a,
      @ForAll @IntRange(max = 50) int d,
      @ForAll @IntRange(min = 1, max = 50) int e,
      @ForAll @IntRange(max = 50) int c) {
    long bound = Math.max(a, e);
    Times times = new Times(a, Math.min(d, bound), e, Math.min(c, bound));
    int least = (int) ((times.roundTrip() + bound - 1) / bound);
    for (int microBatches = 1; microBatches < least; microBatches++) {
      // Each layer takes a whole round trip; the last micro-batch ends R-1 bounds later.
      assertThat(span(layers, microBatches, times))
          .isEqualTo(layers * times.roundTrip() + (microBatches - 1) * bound);
    }
  }

  @Property(tries = 60)
  void anyPlanRespectsLanesAndDependencies(
      @ForAll @IntRange(min = 1, max = 3) int m,
      @ForAll @IntRange(min = 1, max = 4) int n,
      @ForAll @IntRange(min = 1, max = 4) int r,
      @ForAll long seed) {
    TrainingPlan plan = TrainingPlan.even(new int[] {3, 0, 5}, m, n, r, m * r, 8);
    Map<String, Long> drawn = new HashMap<>();
    Random random = new Random(seed);
    TaskTimes times =
        (rank, task) -> drawn.computeIfAbsent(rank + " " + task, key -> random.nextInt(20) + 1L);
    Timeline timeline = ZebraSimulator.predict(plan, times);
    assertThat(ZebraSimulator.predict(plan, times)).isEqualTo(timeline);

    ZebraSchedule schedule = plan.schedule();
    Map<String, Timeline.Event> byTask = new HashMap<>();
    Map<String, Long> laneEnd = new HashMap<>();
    timeline.events().forEach(event -> byTask.put(event.rank() + " " + event.task(), event));
    for (Timeline.Event event : timeline.events()) {
      String lane = event.rank() + " " + event.task().lane();
      assertThat(event.startNanos()).isGreaterThanOrEqualTo(laneEnd.getOrDefault(lane, 0L));
      laneEnd.put(lane, event.endNanos());
      Task needs = schedule.dependency(event.task());
      Timeline.Event needed = needs == null ? null : byTask.get(event.rank() + " " + needs);
      if (needed != null && event.task().lane() == LaneKind.COMPUTE) {
        assertThat(event.startNanos()).isGreaterThanOrEqualTo(needed.endNanos());
      }
    }
    for (int rank = 0; rank < plan.ranks(); rank++) {
      assertThat(timeline.busyShare(rank)).isBetween(0.0, 1.0);
    }
  }

  @Example
  void theHeadIsInterleavedAndBothSidesCount() {
    TrainingPlan plan = TrainingPlan.even(new int[] {2}, 1, 1, 1, 1, 8);
    Timeline timeline = ZebraSimulator.predict(plan, (rank, task) -> 1);
    // A D E C H h c e d a
    assertThat(timeline.spanNanos()).isEqualTo(10);
    assertThat(timeline.busyShare(Role.ATTENTION)).isEqualTo(0.4);
    assertThat(timeline.busyShare(Role.EXPERT)).isEqualTo(0.2);
    assertThat(timeline.toJson())
        .contains("\"spanNanos\":10")
        .contains(
            "{\"rank\":1,\"lane\":\"compute\",\"task\":\"E\",\"layer\":0,\"microBatch\":0,"
                + "\"direction\":\"backward\",\"startNanos\":7,\"endNanos\":8}");
    Timeline halves =
        Timeline.merge(
            List.of(
                new Timeline(1, 2, timeline.events().subList(0, 5)),
                new Timeline(1, 2, timeline.events().subList(5, timeline.events().size()))));
    assertThat(halves).isEqualTo(timeline);
  }

  @Example
  void aReceiverIsNotBusyBeforeTheFirstSenderBegins() {
    Task dispatch = new Task(TaskKind.DISPATCH, 0, 0, Direction.FORWARD);
    Timeline sent =
        new Timeline(
            2,
            3,
            List.of(
                new Timeline.Event(0, dispatch, 50, 70), new Timeline.Event(1, dispatch, 40, 45)));
    Timeline received = new Timeline(2, 3, List.of(new Timeline.Event(2, dispatch, 3, 75)));
    Timeline merged = Timeline.merge(List.of(received, Timeline.unpack(sent.pack())));
    assertThat(merged.events()).contains(new Timeline.Event(2, dispatch, 40, 75));
    assertThat(merged.events()).containsAll(sent.events());
  }

  /** Spans of whole steps, computed by an independent list scheduler in another language. */
  @Example
  void wholeStepsTakeWhatAnotherSimulatorSays() {
    long[] even = {748, 778, 1008, 1328};
    long[] expertBound = {216, 236, 304, 392};
    for (int microBatches = 1; microBatches <= 4; microBatches++) {
      assertThat(span(8, microBatches, iteration(10, 3, 10, 3, 3, 3)))
          .isEqualTo(even[microBatches - 1]);
      assertThat(span(3, microBatches, iteration(8, 4, 10, 2, 6, 2)))
          .isEqualTo(expertBound[microBatches - 1]);
    }
  }

  /** Computing takes a multiple of its time backward, traffic the same. */
  private static TaskTimes iteration(
      long a, long d, long e, long c, long head, long backwardFactor) {
    return (rank, task) -> {
      long factor = task.direction() == Direction.BACKWARD ? backwardFactor : 1;
      return switch (task.kind()) {
        case ATTENTION -> factor * a;
        case EXPERT -> factor * e;
        case HEAD -> factor * head;
        case DISPATCH -> d;
        case COMBINE -> c;
        case UPDATE -> 0;
      };
    };
  }

  @Example
  void slicesOfAStepCoverTheBatchOnce() {
    TrainingPlan plan = TrainingPlan.even(new int[] {4}, 3, 2, 2, 10, 8);
    int next = 0;
    for (int microBatch = 0; microBatch < 2; microBatch++) {
      for (int rank = 0; rank < 3; rank++) {
        assertThat(plan.firstSequence(rank, microBatch)).isEqualTo(next);
        assertThat(plan.sequences(rank, microBatch)).isBetween(1, 2);
        next += plan.sequences(rank, microBatch);
      }
    }
    assertThat(next).isEqualTo(10);
  }

  private static long span(int layers, int microBatches, TaskTimes times) {
    int[] experts = new int[layers];
    Arrays.fill(experts, 2);
    TrainingPlan plan = TrainingPlan.even(experts, 1, 1, microBatches, microBatches, 4);
    return ZebraSimulator.predict(plan, times).spanNanos();
  }
}

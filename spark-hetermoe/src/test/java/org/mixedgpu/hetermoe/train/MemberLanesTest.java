package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.HostStamp;
import org.mixedgpu.backend.StampCount;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.hetermoe.exchange.InProcessExchange;
import org.mixedgpu.hetermoe.plan.Direction;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.TaskKind;
import org.mixedgpu.hetermoe.plan.Timeline;

/** What is measured of a member's tasks, on a device whose time passes when a task says so. */
@Timeout(20)
class MemberLanesTest {
  private static final Task ATTENTION = new Task(TaskKind.ATTENTION, 0, 0, Direction.FORWARD);
  private static final Task DISPATCH = new Task(TaskKind.DISPATCH, 0, 0, Direction.FORWARD);
  private static final Task UPDATE = new Task(TaskKind.UPDATE, 1, 0, Direction.BACKWARD);

  private final AtomicLong now = new AtomicLong(1_000);
  private final StampCount stamps = new StampCount();
  private TrainingBackend backend;
  private InProcessExchange exchange;
  private MemberLanes lanes;

  @BeforeEach
  void open() {
    TrainingBackend cpu = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
    backend = stamps.over(withFakeTime(cpu));
    exchange = InProcessExchange.group(List.of(backend), ZebraGang.LIMITS).get(0);
    lanes = new MemberLanes(backend, exchange);
    lanes.open("attention-0");
  }

  @AfterEach
  void close() {
    lanes.close();
    exchange.close();
    backend.close();
    assertThat(stamps.taken()).isPositive();
    assertThat(stamps.open()).isZero();
  }

  private TrainingBackend withFakeTime(TrainingBackend inner) {
    return Intercepted.over(
        TrainingBackend.class,
        inner,
        (method, arguments, call) ->
            method.equals("stamp") ? new HostStamp(now.get()) : call.proceed());
  }

  /** Work that takes so long. */
  private Runnable taking(long nanos) {
    return () -> now.addAndGet(nanos);
  }

  @Test
  void busyIsTheComputeLanesWorkWithoutItsWaiting() {
    Event sent = lanes.submit(DISPATCH, taking(500));
    lanes.await(LaneKind.COMPUTE, sent);
    lanes.submit(ATTENTION, taking(30));
    lanes.synchronize();
    lanes.run(UPDATE, taking(4));
    assertThat(lanes.takeBusyNanos()).isEqualTo(34);
    assertThat(lanes.takeBusyNanos()).isZero();
    lanes.run(UPDATE, taking(5));
    assertThat(lanes.takeBusyNanos()).isEqualTo(5);
    assertThat(lanes.recorded()).isEmpty();
  }

  @Test
  void eventsOfAllLanesCountFromTheStartOfTheRecording() {
    lanes.run(UPDATE, taking(7));
    lanes.startRecording();
    lanes.await(LaneKind.DISPATCH, lanes.submit(ATTENTION, taking(30)));
    lanes.await(LaneKind.COMPUTE, lanes.submit(DISPATCH, taking(500)));
    lanes.submit(ATTENTION, taking(2));
    lanes.synchronize();
    assertThat(lanes.takeBusyNanos()).isEqualTo(39);
    lanes.run(UPDATE, taking(4));
    assertThat(lanes.recorded())
        .containsExactlyInAnyOrder(
            new Timeline.Event(0, ATTENTION, 0, 30),
            new Timeline.Event(0, DISPATCH, 30, 530),
            new Timeline.Event(0, ATTENTION, 530, 532),
            new Timeline.Event(0, UPDATE, 532, 536));
  }

  @Test
  void aTaskThatFailsLeavesNoStamp() {
    lanes.startRecording();
    lanes.submit(ATTENTION, taking(1));
    lanes.submit(
        DISPATCH,
        () -> {
          throw new IllegalStateException("planted");
        });
    assertThatThrownBy(lanes::synchronize).hasMessageContaining("planted");
    assertThat(stamps.open()).isPositive();
  }
}

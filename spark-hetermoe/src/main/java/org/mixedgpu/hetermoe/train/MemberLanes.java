package org.mixedgpu.hetermoe.train;

import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeAbortedException;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.Timeline;

/**
 * The three lanes of a member, what they were doing when, and the first failure. Whatever fails
 * first aborts the exchange, so that neither this member's other lanes nor its peers keep waiting.
 * Used by the member's main thread; {@link #fail} by any.
 */
final class MemberLanes implements AutoCloseable {
  private final Backend backend;
  private final Exchange exchange;
  private final Map<LaneKind, Lane> lanes = new EnumMap<>(LaneKind.class);
  private final AtomicReference<MixedGpuException> first = new AtomicReference<>();
  private final TaskStamps stamps;

  /** Why the exchange is broken; null where it is not. */
  private volatile String broken;

  /** Opens nothing yet, so that a lane that can't be opened is a failure like any other. */
  MemberLanes(Backend backend, Exchange exchange) {
    this.backend = backend;
    this.exchange = exchange;
    this.stamps = new TaskStamps(backend, exchange.rank());
    exchange.whenBroken(reason -> broken = reason);
  }

  /**
   * Opens the lanes.
   *
   * @param member for the names of their threads
   */
  void open(String member) {
    for (LaneKind kind : LaneKind.values()) {
      String name = member + "-" + kind.label();
      // Peers wait for messages, while compute has other micro-batches.
      lanes.put(kind, kind == LaneKind.COMPUTE ? backend.lane(name) : backend.urgentLane(name));
    }
  }

  /** Queues a task on its lane and returns the event of its end. */
  Event submit(Task task, Runnable work) {
    Lane lane = lanes.get(task.lane());
    lane.submit(() -> run(task, work));
    return lane.record();
  }

  void await(LaneKind lane, Event event) {
    lanes.get(lane).await(event);
  }

  /** Does work of the compute lane in the calling thread. */
  void run(Task task, Runnable work) {
    try {
      stamps.around(task, work);
    } catch (Throwable e) {
      // Errors too: peers must not wait for a member that has run out of memory.
      fail(task.toString(), e);
      throw e;
    }
  }

  /**
   * Notes the failure, if it is the first, and aborts the exchange. Once the exchange is broken,
   * devices may compute with rows that never came: whatever fails then is an echo.
   */
  void fail(String where, Throwable failure) {
    int rank = exchange.rank();
    String reason = broken;
    if (reason != null && !(failure instanceof ExchangeAbortedException)) {
      ExchangeAbortedException echo = new ExchangeAbortedException(reason);
      echo.addSuppressed(failure);
      fail(where, echo);
      // A lost peer is known to this rank; whether to the others, who knows.
      exchange.abort("rank " + rank + " stopped: " + reason);
      return;
    }
    if (failure instanceof ExchangeAbortedException echo) {
      first.compareAndSet(
          null,
          new MixedGpuException(
              echo.fault(), "Rank " + rank + " stopped: " + echo.reason(), failure));
      return;
    }
    String message =
        "rank " + rank + " failed in " + where + ": " + MixedGpuException.describe(failure);
    Fault fault = failure instanceof MixedGpuException e ? e.fault() : Fault.BUG;
    if (first.compareAndSet(null, new MixedGpuException(fault, "Training " + message, failure))) {
      exchange.abort(message);
    }
  }

  /** The first failure; what the caller caught if there is none. */
  RuntimeException firstFailure(Throwable caught) {
    fail("its step", caught);
    return first.get();
  }

  void synchronize() {
    lanes.values().forEach(Lane::synchronize);
  }

  /** Time in which the compute lane had work since the last call; after {@link #synchronize}. */
  long takeBusyNanos() {
    return stamps.takeBusyNanos();
  }

  /** From now on tasks are noted, with times counted from now. */
  void startRecording() {
    stamps.startRecording();
  }

  /** What was noted so far; after {@link #synchronize}. */
  List<Timeline.Event> recorded() {
    return stamps.recorded();
  }

  /**
   * Ends the threads of the lanes, also after a failure, which is known already. An interrupt does
   * not end the wait: the lanes' work uses memory that is freed next.
   */
  @Override
  public void close() {
    boolean interrupted = Thread.interrupted();
    for (Lane lane : lanes.values()) {
      interrupted |= drain(lane);
    }
    closeLanes();
    try {
      stamps.close();
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  /** Waits until a lane has nothing left to do; returns whether an interrupt came. */
  private boolean drain(Lane lane) {
    boolean interrupted = false;
    try {
      Event end = lane.record();
      while (!end.reached()) {
        try {
          end.synchronize();
        } catch (RuntimeException e) {
          // The lane's failure, and then the end is reached, or an interrupt.
          interrupted |= Thread.interrupted();
        }
      }
    } catch (RuntimeException e) {
      // The lane's thread is done and its device has failed for good: nothing works there any more.
      fail("waiting for lane " + lane.name(), e);
    }
    return interrupted;
  }

  private void closeLanes() {
    for (Lane lane : lanes.values()) {
      try {
        lane.close();
      } catch (RuntimeException e) {
        fail("closing lane " + lane.name(), e);
      }
    }
  }
}

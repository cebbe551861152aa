package org.mixedgpu.hetermoe.exchange;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.mixedgpu.backend.cuda.NcclCommunicator;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The NCCL groups of one member: they work together, break together and end together. Groups are
 * aborted side by side, each in a thread of its own: NCCL does not return from an abort before the
 * group's work on the GPU has ended, and that may wait for another group's.
 *
 * <p>While there are groups, a thread looks every second for what has failed in NCCL's own threads:
 * whoever waits on a device calls nothing that could say so.
 */
final class NcclGroups {
  private static final Logger LOG = LoggerFactory.getLogger(NcclGroups.class);

  /** How long the control exchange may take to tell who was lost, once NCCL has noticed. */
  private static final long CAUSE_MILLIS = 2000;

  /** The device's work ends at once; beyond that NCCL waits for peers, which may hang. */
  private static final Duration ABORT_LIMIT = Duration.ofSeconds(10);

  private static final long LOOK_MILLIS = 1000;

  private final int rank;
  private final Duration limit;
  private final Consumer<String> abort;
  private final Map<String, NcclCommunicator> groups = new LinkedHashMap<>();
  private final List<Thread> aborting = new ArrayList<>();
  private volatile String broken;
  private Thread watch;
  private boolean closing;

  /**
   * @param limit how long leaving all groups may take
   * @param abort aborts the exchange of these groups, for a reason that nobody knows yet
   */
  NcclGroups(int rank, Duration limit, Consumer<String> abort) {
    this.rank = rank;
    this.limit = limit;
    this.abort = abort;
  }

  /** Adds a group before it is joined, so that a break ends its joining too. */
  synchronized void add(String name, NcclCommunicator group) {
    refuseIfBroken();
    groups.put(name, group);
    if (watch == null) {
      watch = new Thread(this::watch, "nccl-watch-rank-" + rank);
      watch.setDaemon(true);
      watch.start();
    }
  }

  /** Until the groups are closed or broken. */
  private void watch() {
    try {
      for (List<NcclCommunicator> open = next(); !open.isEmpty(); open = next()) {
        open.forEach(NcclCommunicator::check);
      }
    } catch (RuntimeException e) {
      awaitEnd(CAUSE_MILLIS);
      if (isWatched()) {
        LOG.warn("NCCL failed on rank {} beside all calls", rank, e);
        abort.accept("rank " + rank + " can't go on: " + e.getMessage());
      }
    }
  }

  /** Those to look at, after a while; none where that has ended. */
  private synchronized List<NcclCommunicator> next() {
    awaitEnd(LOOK_MILLIS);
    return isWatched() ? List.copyOf(groups.values()) : List.of();
  }

  private synchronized boolean isWatched() {
    return !closing && broken == null;
  }

  /** Null where there is none. */
  synchronized NcclCommunicator get(String name) {
    return groups.get(name);
  }

  /** Why the groups are aborted; null where they are not. */
  String broken() {
    return broken;
  }

  void refuseIfBroken() {
    String reason = broken;
    if (reason != null) {
      throw new ExchangeAbortedException(reason);
    }
  }

  /** Calls a group; a failure while the groups break is an echo of the cause. */
  void during(Runnable call) {
    refuseIfBroken();
    try {
      call.run();
    } catch (MixedGpuException e) {
      if (e.fault() == Fault.MISSING) {
        awaitEnd(CAUSE_MILLIS);
        refuseIfBroken();
      }
      throw e;
    }
  }

  /** Waits until the groups are closed or broken, but not for ever. */
  private synchronized void awaitEnd(long millis) {
    long deadline = System.nanoTime() + millis * 1_000_000;
    try {
      for (long left = millis; isWatched() && left > 0; ) {
        wait(left);
        left = (deadline - System.nanoTime()) / 1_000_000;
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /**
   * Aborts all groups, the first time; does not wait for that.
   *
   * @param first hears the reason before anything can fail because of it
   */
  void breakUp(String reason, Consumer<String> first) {
    CountDownLatch told = new CountDownLatch(1);
    synchronized (this) {
      if (broken != null) {
        return;
      }
      broken = reason;
      notifyAll();
      // At once, so that whoever finds the groups broken also finds whom to wait for.
      groups.forEach(
          (name, group) -> {
            Thread thread = new Thread(() -> abort(group, reason, told), "nccl-abort-" + name);
            thread.setDaemon(true);
            aborting.add(thread);
            thread.start();
          });
    }
    try {
      first.accept(reason);
    } finally {
      told.countDown();
    }
  }

  private static void abort(NcclCommunicator group, String reason, CountDownLatch told) {
    try {
      told.await();
      group.abort(reason);
    } catch (RuntimeException | InterruptedException e) {
      LOG.warn("{} was not aborted cleanly: {}", group, e.getMessage());
    }
  }

  /** Leaves all groups, which have no work any more, or waits for their abort. */
  void close() {
    synchronized (this) {
      // Peers leave too, and what their leaving looks like from here is no failure.
      closing = true;
      notifyAll();
    }
    RuntimeException failure = broken == null ? leave() : null;
    if (failure != null && broken == null) {
      breakUp("rank " + rank + " could not close: " + failure.getMessage(), reason -> {});
      awaitAborts();
      throw failure;
    }
    awaitAborts();
  }

  /** In a thread of its own, because NCCL waits for peers there; returns what went wrong. */
  private RuntimeException leave() {
    AtomicReference<RuntimeException> failure = new AtomicReference<>();
    List<NcclCommunicator> open;
    synchronized (this) {
      open = List.copyOf(groups.values());
    }
    if (open.isEmpty()) {
      return null;
    }
    Thread thread =
        new Thread(
            () -> {
              try {
                open.forEach(NcclCommunicator::close);
              } catch (RuntimeException e) {
                failure.set(e);
              }
            },
            "nccl-close-rank-" + rank);
    thread.setDaemon(true);
    thread.start();
    if (!ended(thread, System.nanoTime() + limit.toNanos())) {
      return new MixedGpuException(
          Fault.EXHAUSTED,
          "Rank "
              + rank
              + " could not leave its NCCL groups within "
              + limit.toMillis()
              + " ms: a peer has not left them; see what it does");
    }
    return failure.get();
  }

  private void awaitAborts() {
    List<Thread> waitFor;
    synchronized (this) {
      waitFor = List.copyOf(aborting);
    }
    Duration most = limit.compareTo(ABORT_LIMIT) < 0 ? limit : ABORT_LIMIT;
    long deadline = System.nanoTime() + most.toNanos();
    for (Thread thread : waitFor) {
      if (!ended(thread, deadline)) {
        LOG.warn(
            "{} on rank {} has not ended after {} ms: a peer hangs; NCCL's memory stays until this"
                + " process ends",
            thread.getName(),
            rank,
            most.toMillis());
      }
    }
  }

  /** Waits for a thread, also when interrupted: what follows frees what it uses. */
  private static boolean ended(Thread thread, long deadline) {
    boolean interrupted = false;
    for (long left = 1; thread.isAlive() && left > 0; ) {
      left = (deadline - System.nanoTime()) / 1_000_000;
      try {
        thread.join(Math.max(1, left));
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    return !thread.isAlive();
  }
}

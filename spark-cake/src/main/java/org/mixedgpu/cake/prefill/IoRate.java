package org.mixedgpu.cake.prefill;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.mixedgpu.base.Check;

/**
 * Makes loads take as long as over a link of a given speed, for experiments. Loads that share an
 * instance share the link: one after the other, each {@code bytes / rate}, none of it saved up
 * while the link is idle. A load that is given up leaves the rest of its time to those behind it.
 * Any thread.
 */
public final class IoRate {
  private final double bytesPerSecond;
  private final Clock clock;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();

  /** Those not over yet, in the order in which they began; the first has the link. */
  private final Deque<Turn> turns = new ArrayDeque<>();

  /** Since when the first of the turns has had the link. */
  private long since;

  /** One load's time on the link. */
  public static final class Turn {
    private final long nanos;

    private Turn(long nanos) {
      this.nanos = nanos;
    }
  }

  /**
   * @param bytesPerSecond 0 for no limit
   */
  public IoRate(double bytesPerSecond, Clock clock) {
    Check.input(
        bytesPerSecond >= 0 && bytesPerSecond < Double.POSITIVE_INFINITY,
        "An I/O rate is in bytes per second, 0 for no limit; found %s",
        bytesPerSecond);
    this.bytesPerSecond = bytesPerSecond;
    this.clock = clock;
  }

  public static IoRate unlimited() {
    return new IoRate(0, Clock.SYSTEM);
  }

  /** Called when a read begins: gives the bytes their turn on the link, after all before. */
  public Turn begin(long bytes) {
    if (bytesPerSecond == 0) {
      return new Turn(0);
    }
    lock.lock();
    try {
      settle();
      if (turns.isEmpty()) {
        since = clock.nanoTime();
      }
      Turn turn = new Turn((long) (bytes * 1e9 / bytesPerSecond));
      turns.add(turn);
      return turn;
    } finally {
      lock.unlock();
    }
  }

  /** Returns when the turn's bytes have come over the link, or when it is given up. */
  public void finish(Turn turn) throws InterruptedException {
    if (bytesPerSecond == 0) {
      return;
    }
    lock.lock();
    try {
      for (long left = left(turn); left > 0; left = left(turn)) {
        clock.await(changed, left);
      }
    } finally {
      lock.unlock();
    }
  }

  /** The bytes are not wanted any more: what has not come yet need not. */
  public void giveUp(Turn turn) {
    lock.lock();
    try {
      settle();
      if (turn == turns.peek()) {
        since = clock.nanoTime();
      }
      turns.remove(turn);
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** Time until a turn is over; 0 if it is. */
  private long left(Turn turn) {
    settle();
    if (!turns.contains(turn)) {
      return 0;
    }
    long end = since;
    for (Turn before : turns) {
      end += before.nanos;
      if (before == turn) {
        break;
      }
    }
    return Math.max(1, end - clock.nanoTime());
  }

  /** Ends the turns whose time has passed. */
  private void settle() {
    long now = clock.nanoTime();
    while (!turns.isEmpty() && now - since >= turns.peek().nanos) {
      since += turns.poll().nanos;
    }
  }
}

package org.mixedgpu.cake.prefill;

import org.mixedgpu.base.Check;

/**
 * Makes loads take as long as over a link of a given speed, for experiments. Loads that share an
 * instance share the link: one after the other, each {@code bytes / rate}, none of it saved up
 * while the link is idle. Any thread.
 */
public final class IoRate {
  private final double bytesPerSecond;
  private final Clock clock;
  private long freeAt;

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
    this.freeAt = clock.nanoTime();
  }

  public static IoRate unlimited() {
    return new IoRate(0, Clock.SYSTEM);
  }

  /**
   * Called when a read begins: gives the bytes their turn on the link, after all before.
   *
   * @return when they will have come over it, for {@link #finish}
   */
  public synchronized long begin(long bytes) {
    long now = clock.nanoTime();
    if (bytesPerSecond > 0) {
      long start = freeAt - now > 0 ? freeAt : now;
      freeAt = start + (long) (bytes * 1e9 / bytesPerSecond);
      return freeAt;
    }
    return now;
  }

  /** Returns at the time that {@link #begin} gave, or at once if it has passed. */
  public void finish(long end) {
    long left = end - clock.nanoTime();
    if (left > 0) {
      clock.sleep(left);
    }
  }
}

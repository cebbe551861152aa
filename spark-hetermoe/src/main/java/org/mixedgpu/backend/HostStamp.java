package org.mixedgpu.backend;

import org.mixedgpu.base.Check;

/**
 * A stamp of backends whose ops are done when they return: the host's time.
 *
 * @param nanos since some origin, the same for all of a backend
 */
public record HostStamp(long nanos) implements Stamp {
  public static HostStamp now() {
    return new HostStamp(System.nanoTime());
  }

  @Override
  public long nanosSince(Stamp earlier) {
    if (!(earlier instanceof HostStamp before)) {
      throw Check.badInput(
          "Time passes between two stamps of the same backend; found one of %s",
          earlier.getClass().getName());
    }
    return nanos - before.nanos;
  }

  @Override
  public void close() {}
}

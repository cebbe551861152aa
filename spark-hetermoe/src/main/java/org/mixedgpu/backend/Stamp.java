package org.mixedgpu.backend;

/**
 * A moment in a lane's work, for measuring: the one at which the device has done all that was
 * queued before, and not the one at which the host queued it. Any thread may ask and close.
 */
public interface Stamp extends AutoCloseable {
  /**
   * Nanoseconds from an earlier stamp, of any lane of the same backend, to this one; waits until
   * the device has passed both. Devices count in steps of about a microsecond and lose digits over
   * long spans: measure seconds, not hours.
   */
  long nanosSince(Stamp earlier);

  /** Gives it back; idempotent. Before the backend is closed. */
  @Override
  void close();
}

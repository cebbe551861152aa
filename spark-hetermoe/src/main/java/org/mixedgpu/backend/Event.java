package org.mixedgpu.backend;

/** A point in a lane's work, for other lanes and the host to wait for. */
public interface Event {
  /** Blocks the calling thread until the point is reached; rethrows what failed before it. */
  void synchronize();

  boolean reached();
}

package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;

/** Hears in the driver what members report; called from one thread at a time, must not wait. */
@FunctionalInterface
public interface Progress {
  /** Ignores all reports. */
  Progress IGNORED = (epoch, rank, value) -> {};

  void reported(int epoch, int rank, Serializable value);
}

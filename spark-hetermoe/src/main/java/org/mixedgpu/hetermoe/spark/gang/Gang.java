package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.List;
import org.apache.spark.api.java.JavaSparkContext;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** Runs a gang on a Spark cluster, or on threads where the master is {@code local}. */
public final class Gang {
  private Gang() {}

  /**
   * Runs the task once per member, all at the same time, and returns their results in rank order.
   * If one member fails, all are stopped, and the exception names the first failure with rank, host
   * and cause. Before any job starts, an impossible combination of settings is an error that names
   * the settings to change.
   */
  public static <T extends Serializable> List<T> run(
      JavaSparkContext spark, GangSpec spec, MemberTask<T> task) {
    throw new MixedGpuException(Fault.MISSING, "The gang runtime is not merged yet");
  }
}

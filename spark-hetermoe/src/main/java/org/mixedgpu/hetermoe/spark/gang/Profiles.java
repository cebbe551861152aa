package org.mixedgpu.hetermoe.spark.gang;

import java.util.HashMap;
import java.util.Map;
import java.util.WeakHashMap;
import org.apache.spark.SparkConf;
import org.apache.spark.SparkContext;
import org.apache.spark.resource.ExecutorResourceRequests;
import org.apache.spark.resource.ResourceProfile;
import org.apache.spark.resource.ResourceProfileBuilder;
import org.apache.spark.resource.TaskResourceRequests;
import org.mixedgpu.hetermoe.spark.HeterMoeConf;

/**
 * The ResourceProfile of each kind of member, built once per SparkContext: two equal builds would
 * be two profiles, with executors of their own, and profiles are never removed.
 */
final class Profiles {
  /** What makes executors interchangeable; the number of members does not. */
  private record Kind(String resource, int cores, long memoryMib, long overheadMib) {}

  private static final Map<SparkContext, Map<Kind, ResourceProfile>> BUILT = new WeakHashMap<>();

  private Profiles() {}

  static ResourceProfile of(SparkContext spark, MemberSpec role) {
    Kind kind = new Kind(role.resource(), role.cores(), role.memoryMib(), role.overheadMib());
    synchronized (BUILT) {
      return BUILT
          .computeIfAbsent(spark, s -> new HashMap<>())
          .computeIfAbsent(kind, k -> build(k, spark.conf()));
    }
  }

  private static ResourceProfile build(Kind kind, SparkConf conf) {
    ExecutorResourceRequests executor =
        new ExecutorResourceRequests()
            .cores(kind.cores())
            .memory(kind.memoryMib() + "m")
            // Settings of our own: spark.executor.resource.* is for the default profile, whose
            // executors must not hold GPUs.
            .resource(
                kind.resource(),
                1,
                conf.get(HeterMoeConf.GPU_DISCOVERY_SCRIPT.key(), ""),
                conf.get(HeterMoeConf.GPU_VENDOR.key(), ""));
    if (kind.overheadMib() > 0) {
      executor.memoryOverhead(kind.overheadMib() + "m");
    }
    TaskResourceRequests task =
        new TaskResourceRequests().cpus(kind.cores()).resource(kind.resource(), 1);
    return new ResourceProfileBuilder().require(executor).require(task).build();
  }
}

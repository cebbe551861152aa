package org.mixedgpu.local;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * One application for {@link LocalCluster#submit}.
 *
 * @param mainClass class with a {@code main} method
 * @param jar its jar; empty where the cluster's class path has the class
 * @param conf Spark settings
 * @param timeout how long it may run
 */
public record Submission(
    String mainClass,
    Optional<String> jar,
    Map<String, String> conf,
    List<String> arguments,
    Duration timeout) {
  public Submission {
    conf = Map.copyOf(conf);
    arguments = List.copyOf(arguments);
  }

  /** A class of the cluster's class path that may run for 10 minutes. */
  public static Submission of(String mainClass, Map<String, String> conf, List<String> arguments) {
    return new Submission(mainClass, Optional.empty(), conf, arguments, Duration.ofMinutes(10));
  }

  /**
   * How an application ended.
   *
   * @param exitCode 0 for success
   * @param output what it printed, standard error included, in order
   */
  public record Result(int exitCode, String output) {}
}

package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.api.java.JavaSparkContext;
import org.slf4j.LoggerFactory;
import scala.Tuple2;

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
    Map<String, String> settings = new TreeMap<>();
    for (Tuple2<String, String> setting : spark.getConf().getAll()) {
      settings.put(setting._1(), setting._2());
    }
    Preflight.Decision decision = Preflight.decide(settings, spec);
    LoggerFactory.getLogger(Gang.class)
        .info("Gang {} runs in mode {}: {}", spec.name(), decision.mode(), decision.reason());
    return decision.mode() == Mode.LOCAL
        ? new LocalGang<>(spec, task).run()
        : new ClusterGang<>(spark, spec, decision.mode(), task).run();
  }
}

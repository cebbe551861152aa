package org.mixedgpu.hetermoe.spark;

import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.SparkConf;
import org.mixedgpu.io.HadoopFileStore;
import scala.Tuple2;

/**
 * The file systems of a Spark application: {@code spark.hadoop.*} over what is on the class path.
 */
public final class HadoopSettings {
  private HadoopSettings() {}

  public static HadoopFileStore store(SparkConf conf) {
    Map<String, String> settings = new TreeMap<>();
    for (Tuple2<String, String> pair : conf.getAllWithPrefix("spark.hadoop.")) {
      settings.put(pair._1(), pair._2());
    }
    return HadoopFileStore.of(settings.entrySet());
  }
}

package org.mixedgpu.hetermoe.spark;

import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.SparkConf;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.base.ConfEntry;
import org.mixedgpu.base.ConfSection;
import scala.Tuple2;

/**
 * The settings of a deployment: how members compute and how long they wait. What a run is about
 * (model, data, batch, learning rate) are params of {@link HeterMoe}. Nothing else reads {@code
 * spark.hetermoe.*}; lower layers get values.
 */
public final class HeterMoeConf {
  public static final String PREFIX = "spark.hetermoe.";

  public static final ConfEntry<BackendKind> BACKEND =
      new ConfEntry<>(
          PREFIX + "backend",
          "",
          "cpu",
          "What members compute on. There is no silent fallback: a backend that can't be opened"
              + " fails the run and says what is missing.",
          s -> BackendKind.valueOf(s.toUpperCase(Locale.ROOT)),
          k -> k != BackendKind.REFERENCE,
          "cpu");

  public static final ConfEntry<Long> THREADS =
      ConfEntry.number(
          PREFIX + "threads",
          "threads",
          0,
          0,
          1024,
          "CPU threads per member; 0 means spark.task.cpus, so that tasks of one host don't fight"
              + " for cores.");

  public static final ConfEntry<Long> TENSOR_MEMORY =
      ConfEntry.number(
          PREFIX + "tensorMemoryMib",
          "MiB",
          0,
          0,
          1 << 30,
          "Most host memory of a member's tensors, outside the JVM's heap; 0 means no limit but the"
              + " machine's. Leave room for it in spark.executor.memoryOverhead.");

  public static final ConfEntry<String> GPU_CATALOGUE =
      ConfEntry.text(
          PREFIX + "gpuCatalogue",
          "",
          "Path of a GPU catalogue in the format of conf/gpus.json; empty means the built-in one.");

  public static final ConfSection ALL =
      new ConfSection(PREFIX, List.of(BACKEND, THREADS, TENSOR_MEMORY, GPU_CATALOGUE));

  private HeterMoeConf() {}

  /** All settings under our prefix, checked: an unknown key or a value out of range throws. */
  public static Map<String, String> checked(SparkConf conf) {
    Map<String, String> settings = new TreeMap<>();
    for (Tuple2<String, String> pair : conf.getAllWithPrefix(PREFIX)) {
      settings.put(PREFIX + pair._1(), pair._2());
    }
    ALL.check(settings);
    return settings;
  }
}

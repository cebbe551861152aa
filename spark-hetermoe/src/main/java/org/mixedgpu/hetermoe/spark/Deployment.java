package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.apache.spark.SparkConf;
import org.apache.spark.TaskContext;
import org.mixedgpu.backend.BackendChoice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.device.GpuAddress;
import org.mixedgpu.io.HadoopFileStore;

/** How work is done in this application, read once in the driver and sent to the executors. */
record Deployment(BackendChoice backend, HadoopFileStore store) implements Serializable {

  /**
   * @param threads 0 for a share of the cores
   * @param tensorBytes 0 for no limit of ours
   * @param backendsPerJvm how many backends share the cores of one executor
   */
  static Deployment of(
      SparkConf conf,
      String backend,
      String precision,
      long threads,
      long tensorBytes,
      int backendsPerJvm) {
    int used = threads > 0 ? Math.toIntExact(threads) : Math.max(1, cores(conf) / backendsPerJvm);
    return new Deployment(
        BackendChoice.of(backend, precision, used, tensorBytes), HadoopSettings.store(conf));
  }

  /** Cores of one executor; in local mode those of this machine. */
  static int cores(SparkConf conf) {
    return isLocal(conf)
        ? Runtime.getRuntime().availableProcessors()
        : conf.getInt("spark.executor.cores", 1);
  }

  static boolean isLocal(SparkConf conf) {
    return conf.get("spark.master", "").matches("local(\\[.*\\])?");
  }

  /**
   * @param addresses of the GPUs that the cluster gave to a member; empty on {@code local[*]}
   */
  TrainingBackend open(List<String> addresses) {
    return backend.open(
        addresses.isEmpty()
            ? OptionalInt.empty()
            : OptionalInt.of(GpuAddress.index(addresses.get(0))));
  }

  /**
   * The GPU that Spark gave to the running task; empty where it gave none, and in the driver, where
   * Spark computes small tables without a task.
   */
  static OptionalInt gpuOfTask() {
    TaskContext task = TaskContext.get();
    if (task == null) {
      return OptionalInt.empty();
    }
    Map<String, List<String>> addresses = new HashMap<>();
    task.resourcesJMap().forEach((name, given) -> addresses.put(name, List.of(given.addresses())));
    return GpuAddress.ofTask(addresses);
  }
}

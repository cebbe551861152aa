package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import java.util.Locale;
import org.apache.spark.SparkConf;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.io.HadoopFileStore;

/**
 * How work is done in this application, read once in the driver and sent to the executors.
 *
 * @param threads CPU threads of one backend
 * @param tensorBytes most bytes of one backend's open tensors
 */
record Deployment(BackendKind backend, int threads, long tensorBytes, HadoopFileStore store)
    implements Serializable {

  /**
   * @param threads 0 for a share of the cores
   * @param tensorBytes 0 for no limit of ours
   * @param backendsPerJvm how many backends share the cores of one executor
   */
  static Deployment of(
      SparkConf conf, String backend, long threads, long tensorBytes, int backendsPerJvm) {
    return new Deployment(
        BackendKind.valueOf(backend.toUpperCase(Locale.ROOT)),
        threads > 0 ? Math.toIntExact(threads) : Math.max(1, cores(conf) / backendsPerJvm),
        tensorBytes > 0 ? tensorBytes : Long.MAX_VALUE,
        HadoopSettings.store(conf));
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

  TrainingBackend open() {
    return Backends.open(backend, new CpuOptions(threads, tensorBytes));
  }
}

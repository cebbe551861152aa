package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import java.util.Map;
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
   * @param backendsPerJvm how many backends share the cores of one executor
   */
  static Deployment of(SparkConf conf, int backendsPerJvm) {
    Map<String, String> settings = HeterMoeConf.checked(conf);
    int threads = Math.toIntExact(HeterMoeConf.THREADS.read(settings));
    long mib = HeterMoeConf.TENSOR_MEMORY.read(settings);
    return new Deployment(
        HeterMoeConf.BACKEND.read(settings),
        threads > 0 ? threads : Math.max(1, cores(conf) / backendsPerJvm),
        mib > 0 ? mib << 20 : Long.MAX_VALUE,
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

package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.local.LocalCluster;
import org.mixedgpu.local.WorkerSpec;
import org.mixedgpu.nn.checkpoint.Checkpoint;

/**
 * The estimator with the backend cuda on a real Master and two Workers that share GPU 0, an
 * executor of each role on it, against one process on the CPU. Run it on a machine with a GPU:
 *
 * <pre>
 * ./mvnw -Pgpu -pl spark-hetermoe verify -Dit.test=GpuClusterIT
 * </pre>
 *
 * <p>With {@code -Dmixedgpu.test.backend=cpu} the same runs on the CPU, which tries the test
 * itself.
 */
@Tag("gpu")
@Timeout(240)
class GpuClusterIT {
  @TempDir static Path folder;
  private static LocalCluster cluster;
  private static SparkSession spark;
  private static FileStore store;
  private static String generation;
  private static GpuRuns runs;

  @BeforeAll
  static void start() throws IOException {
    generation = GpuRuns.generation(0);
    cluster =
        LocalCluster.in(folder.resolve("cluster"))
            .worker(worker("new", "gpu-ampere"))
            .worker(worker("old", "gpu-volta"))
            .start();
    SparkConf conf = GpuRuns.conf(cluster, "gpu-it");
    spark = SparkSession.builder().config(conf).getOrCreate();
    store = HadoopSettings.store(conf);
    runs = GpuRuns.in(folder);
  }

  /** Offers GPU 0 under its own name and under an emulated one. */
  private static WorkerSpec worker(String name, String emulated) {
    Map<String, List<String>> resources = new HashMap<>();
    resources.put("gpu-" + generation, List.of("0"));
    resources.put(emulated, List.of("0"));
    return new WorkerSpec(name, 4, 8192, resources);
  }

  @AfterAll
  static void stop() {
    if (spark != null) {
      spark.stop();
    }
    if (cluster != null) {
      cluster.close();
    }
  }

  /**
   * fp32 differs from the CPU in the order of sums; bf16 rounds every activation to 8 bits, 0.2 %
   * at most, which losses average out. AdamW divides by the gradient's own size, so that where a
   * gradient is nearly nothing its rounding moves a weight as much as a gradient would: weights are
   * compared in fp32 only, and by their mean difference.
   */
  @ParameterizedTest(name = "{0}, {1} micro-batches")
  @CsvSource({"fp32, 1, 1e-4, 1e-4", "fp32, 3, 1e-4, 1e-4", "bf16, 2, 1e-2, 1e-2"})
  void bothRolesOnOneGpuTrainWhatOneProcessTrainsOnTheCpu(
      String precision, int microBatches, double lossLimit, double rmsLimit) {
    HeterMoe run = runs.estimator("gpu-" + generation, "gpu-" + generation, precision);
    runs.assertTrainsAsOneProcess(
        spark, store, run.setMicroBatches(microBatches), lossLimit, rmsLimit);
  }

  @Test
  void anEmulatedGenerationTakesLongerAndLeavesEveryBit() {
    HeterMoeModel plain =
        runs.estimator("gpu-" + generation, "gpu-" + generation, "fp32").fit(runs.text(spark));
    HeterMoeModel emulated =
        runs.estimator("gpu-ampere", "gpu-volta", "fp32")
            .setEmulate("catalogue")
            .fit(runs.text(spark));
    assertThat(Checkpoint.digest(store, emulated.folder()))
        .isEqualTo(Checkpoint.digest(store, plain.folder()));
  }

  @Test
  void aModelScoresOnTheGpuAsOnTheCpu() {
    HeterMoeModel model =
        runs.estimator("gpu-" + generation, "gpu-" + generation, "fp32")
            .setSteps(2)
            .fit(runs.text(spark));
    double expected = meanLogLikelihood(model.setBackend("cpu"));
    double found = meanLogLikelihood(model.setBackend(GpuRuns.BACKEND).setPrecision("fp32"));
    assertThat(Math.abs(found - expected) / Math.abs(expected)).isLessThanOrEqualTo(1e-4);
  }

  private static double meanLogLikelihood(HeterMoeModel model) {
    return model
        .transform(runs.text(spark))
        .selectExpr("avg(score.meanLogLikelihood)")
        .first()
        .getDouble(0);
  }
}

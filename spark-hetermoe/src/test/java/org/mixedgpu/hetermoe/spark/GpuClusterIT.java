package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.device.GpuCatalogue;
import org.mixedgpu.device.GpuInventory;
import org.mixedgpu.hetermoe.spark.gang.GangPlugin;
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
  private static final String BACKEND = System.getProperty("mixedgpu.test.backend", "cuda");
  private static final boolean CUDA = BACKEND.equals("cuda");

  @TempDir static Path folder;
  private static LocalCluster cluster;
  private static SparkSession spark;
  private static FileStore store;
  private static String generation;

  @BeforeAll
  static void start() throws IOException {
    generation =
        CUDA ? GpuInventory.ofThisMachine(GpuCatalogue.builtIn()).gpu(0).generation() : "hopper";
    cluster =
        LocalCluster.in(folder.resolve("cluster"))
            .worker(worker("new", "gpu-ampere"))
            .worker(worker("old", "gpu-volta"))
            .start();
    SparkConf conf = new SparkConf(false).setAppName("gpu-it");
    cluster.conf().forEach(conf::set);
    conf.set("spark.plugins", GangPlugin.class.getName());
    conf.set("spark.dynamicAllocation.enabled", "true");
    conf.set("spark.executor.cores", "1");
    conf.set("spark.executor.memory", "1g");
    conf.set("spark.locality.wait", "0");
    conf.set("spark.ui.enabled", "false");
    spark = SparkSession.builder().config(conf).getOrCreate();
    store = HadoopSettings.store(conf);
    Files.writeString(folder.resolve("model.json"), MODEL);
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 200; i++) {
      text.append(String.format(Locale.ROOT, "Line %d: half of %d is %d.%n", i, 2 * i, i));
    }
    Files.writeString(folder.resolve("text.txt"), text);
  }

  /** Head size and widths as kernels like them, but small. */
  private static final String MODEL =
      """
      {"architectures":["MixtralForCausalLM"],"model_type":"mixtral","bos_token_id":256,
       "eos_token_id":257,"hidden_act":"silu","hidden_size":128,"intermediate_size":192,
       "num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":64,
       "num_local_experts":4,"num_experts_per_tok":2,"router_aux_loss_coef":0.02,
       "output_router_logits":true,
       "max_position_embeddings":512,"rms_norm_eps":1e-5,"rope_theta":10000.0,
       "sliding_window":null,"tie_word_embeddings":false,"initializer_range":0.05,
       "vocab_size":272}
      """;

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
    HeterMoe run = estimator("gpu-" + generation, "gpu-" + generation, precision);
    HeterMoeModel model = run.setMicroBatches(microBatches).fit(text());
    TrainedModels.Difference difference =
        TrainedModels.toOneProcess(run, store, model.folder(), tokens(model));
    List<Row> history = model.history().orderBy("step").collectAsList();
    assertThat(history).hasSize(difference.losses().size());
    for (int i = 0; i < history.size(); i++) {
      double expected = difference.losses().get(i);
      double found = history.get(i).<Double>getAs("loss");
      System.out.printf(Locale.ROOT, "%s step %d: %.6f, %.6f%n", precision, i, expected, found);
      assertThat(Math.abs(found - expected) / expected)
          .as("step %d: expected %s, found %s", i + 1, expected, found)
          .isLessThanOrEqualTo(lossLimit);
    }
    System.out.printf("%s: %s%n", precision, difference);
    assertThat(difference.rms()).as("%s", difference).isLessThanOrEqualTo(rmsLimit);
  }

  @Test
  void anEmulatedGenerationTakesLongerAndLeavesEveryBit() {
    HeterMoeModel plain = estimator("gpu-" + generation, "gpu-" + generation, "fp32").fit(text());
    HeterMoeModel emulated =
        estimator("gpu-ampere", "gpu-volta", "fp32").setEmulate("catalogue").fit(text());
    assertThat(Checkpoint.digest(store, emulated.folder()))
        .isEqualTo(Checkpoint.digest(store, plain.folder()));
  }

  @Test
  void aModelScoresOnTheGpuAsOnTheCpu() {
    HeterMoeModel model =
        estimator("gpu-" + generation, "gpu-" + generation, "fp32").setSteps(2).fit(text());
    double expected = meanLogLikelihood(model.setBackend("cpu"));
    double found = meanLogLikelihood(model.setBackend(BACKEND).setPrecision("fp32"));
    assertThat(Math.abs(found - expected) / Math.abs(expected)).isLessThanOrEqualTo(1e-4);
  }

  private static double meanLogLikelihood(HeterMoeModel model) {
    return model.transform(text()).selectExpr("avg(score.meanLogLikelihood)").first().getDouble(0);
  }

  private static HeterMoe estimator(String attention, String expert, String precision) {
    return new HeterMoe()
        .setModel(folder.resolve("model.json").toString())
        .setWorkDir(folder.resolve("work").toString())
        .setAttentionResource(attention)
        .setExpertResource(expert)
        .setBackend(BACKEND)
        .setPrecision(CUDA ? precision : "fp32")
        .setSequenceLength(64)
        .setBatchSize(12)
        .setSteps(10)
        .setLearningRate(1e-3);
  }

  private static Dataset<Row> text() {
    return spark.read().text(folder.resolve("text.txt").toString()).toDF("text");
  }

  /** The shards lie beside the model in the run's folder. */
  private static String tokens(HeterMoeModel model) {
    return model.folder().replaceAll("/model$", "/tokens");
  }
}

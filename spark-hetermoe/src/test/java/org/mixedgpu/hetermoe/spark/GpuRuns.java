package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.mixedgpu.device.GpuCatalogue;
import org.mixedgpu.device.GpuInventory;
import org.mixedgpu.hetermoe.spark.gang.GangPlugin;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.local.LocalCluster;

/**
 * A small model, some text, and what one process on the CPU makes of them: for the tests on
 * clusters of GPUs.
 */
final class GpuRuns {
  static final String BACKEND = System.getProperty("mixedgpu.test.backend", "cuda");
  static final boolean CUDA = BACKEND.equals("cuda");

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

  private final Path folder;

  private GpuRuns(Path folder) {
    this.folder = folder;
  }

  /** Writes model and text. */
  static GpuRuns in(Path folder) throws IOException {
    Files.writeString(folder.resolve("model.json"), MODEL);
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 200; i++) {
      text.append(String.format(Locale.ROOT, "Line %d: half of %d is %d.%n", i, 2 * i, i));
    }
    Files.writeString(folder.resolve("text.txt"), text);
    return new GpuRuns(folder);
  }

  /** The generation of this machine's GPU. */
  static String generation(int gpu) {
    return CUDA
        ? GpuInventory.ofThisMachine(GpuCatalogue.builtIn()).gpu(gpu).generation()
        : "hopper";
  }

  /** Of an application with an executor for each role. */
  static SparkConf conf(LocalCluster cluster, String name) {
    SparkConf conf = new SparkConf(false).setAppName(name);
    cluster.conf().forEach(conf::set);
    conf.set("spark.plugins", GangPlugin.class.getName());
    conf.set("spark.dynamicAllocation.enabled", "true");
    conf.set("spark.executor.cores", "1");
    conf.set("spark.executor.memory", "1g");
    conf.set("spark.locality.wait", "0");
    conf.set("spark.ui.enabled", "false");
    return conf;
  }

  HeterMoe estimator(String attention, String expert, String precision) {
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

  Dataset<Row> text(SparkSession spark) {
    return spark.read().text(folder.resolve("text.txt").toString()).toDF("text");
  }

  /**
   * Trains, and compares every loss and the weights with those of one process on the CPU.
   *
   * @param lossLimit as a part of each loss
   * @param rmsLimit of the difference of all weights
   */
  HeterMoeModel assertTrainsAsOneProcess(
      SparkSession spark, FileStore store, HeterMoe run, double lossLimit, double rmsLimit) {
    HeterMoeModel model = run.fit(text(spark));
    // The shards lie beside the model in the run's folder.
    String tokens = model.folder().replaceAll("/model$", "/tokens");
    TrainedModels.Difference difference =
        TrainedModels.toOneProcess(run, store, model.folder(), tokens);
    List<Row> history = model.history().orderBy("step").collectAsList();
    assertThat(history).hasSize(difference.losses().size());
    String name = run.value(TrainOptions.PRECISION);
    for (int i = 0; i < history.size(); i++) {
      double expected = difference.losses().get(i);
      double found = history.get(i).<Double>getAs("loss");
      System.out.printf(Locale.ROOT, "%s step %d: %.6f, %.6f%n", name, i, expected, found);
      assertThat(Math.abs(found - expected) / expected)
          .as("step %d: expected %s, found %s", i + 1, expected, found)
          .isLessThanOrEqualTo(lossLimit);
    }
    System.out.printf("%s: %s%n", name, difference);
    assertThat(difference.rms()).as("%s", difference).isLessThanOrEqualTo(rmsLimit);
    return model;
  }
}

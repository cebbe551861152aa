package org.mixedgpu.cake.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.cake.prefill.TinyFolder;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.local.LocalCluster;
import org.mixedgpu.local.WorkerSpec;
import org.mixedgpu.nn.checkpoint.ModelConfigs;

/**
 * The transformer with the backend cuda on a real Master and Worker, two tasks at a time on GPU 0,
 * against the CPU. Run it on a machine with a GPU:
 *
 * <pre>
 * ./mvnw -Pgpu -pl spark-hetermoe,spark-cake verify -Dit.test=GpuPrefillIT
 * </pre>
 *
 * <p>With {@code -Dmixedgpu.test.backend=cpu} the same runs on the CPU, which tries the test
 * itself.
 */
@Tag("gpu")
@Timeout(240)
class GpuPrefillIT {
  private static final String BACKEND = System.getProperty("mixedgpu.test.backend", "cuda");
  private static final boolean CUDA = BACKEND.equals("cuda");
  private static final int PROMPTS = 12;

  /**
   * Head size and widths as kernels like them, but small. Every expert is chosen, and weights are
   * not large: else the rounding to 16 bits tips a random router over, also on a CPU, and an answer
   * moves by more than what a wrong cache would.
   */
  private static final String MODEL =
      """
      {"architectures":["MixtralForCausalLM"],"model_type":"mixtral","bos_token_id":256,
       "eos_token_id":257,"hidden_act":"silu","hidden_size":128,"intermediate_size":192,
       "num_hidden_layers":2,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":64,
       "num_local_experts":4,"num_experts_per_tok":4,
       "max_position_embeddings":512,"rms_norm_eps":1e-5,"rope_theta":10000.0,
       "sliding_window":null,"tie_word_embeddings":false,"initializer_range":0.1,
       "vocab_size":300}
      """;

  @TempDir static Path folder;
  private static LocalCluster cluster;
  private static SparkSession spark;

  /**
   * @param bits of the log-probability
   */
  private record Answer(int token, double logProbability, long bits, int loaded) {}

  @BeforeAll
  static void start() {
    cluster =
        LocalCluster.in(folder.resolve("cluster"))
            .worker(new WorkerSpec("one", 2, 4096, Map.of("gpu", List.of("any-0"))))
            .start();
    SparkConf conf = new SparkConf(false).setAppName("gpu-prefill-it");
    cluster.conf().forEach(conf::set);
    conf.set("spark.executor.cores", "2");
    conf.set("spark.executor.memory", "1g");
    conf.set("spark.executor.resource.gpu.amount", "1");
    conf.set("spark.task.resource.gpu.amount", "0.5");
    conf.set("spark.ui.enabled", "false");
    spark = SparkSession.builder().config(conf).getOrCreate();
    TinyFolder.write(
        HadoopFileStore.ofDefaults(),
        folder.resolve("model").toString(),
        ModelConfigs.parse(MODEL, "of this test"),
        3);
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

  @Test
  void modesAgreeWithEachOtherAndWithTheCpu() {
    Map<Integer, Answer> cpu = answers(prefill("cpu", "fp32", "compute", "none"));
    Map<Integer, Answer> computed = answers(prefill(BACKEND, "fp32", "compute", "all"));
    Map<Integer, Answer> loaded = answers(prefill(BACKEND, "fp32", "load", "none"));
    Map<Integer, Answer> cake = answers(prefill(BACKEND, "fp32", "cake", "none"));
    assertThat(loaded.values().stream().mapToInt(Answer::loaded).sum()).isPositive();
    cpu.forEach(
        (id, expected) -> {
          assertNear(computed.get(id), expected, 1e-3);
          // Chunk by chunk on the same grid: loaded KV is what was computed.
          assertThat(loaded.get(id).bits()).isEqualTo(computed.get(id).bits());
          assertThat(cake.get(id).bits()).isEqualTo(computed.get(id).bits());
        });
  }

  @Test
  void halfPrecisionIsNearAndHasACacheOfItsOwn() {
    String half = CUDA ? "bf16" : "fp32";
    Map<Integer, Answer> cpu = answers(prefill("cpu", "fp32", "compute", "none"));
    Map<Integer, Answer> computed = answers(prefill(BACKEND, half, "compute", "all"));
    Map<Integer, Answer> loaded = answers(prefill(BACKEND, half, "load", "none"));
    cpu.forEach(
        (id, expected) -> {
          assertThat(computed.get(id).logProbability())
              .as("prompt %d", id)
              .isCloseTo(expected.logProbability(), within(0.05));
          assertThat(loaded.get(id).bits()).isEqualTo(computed.get(id).bits());
        });
  }

  private static void assertNear(Answer found, Answer expected, double limit) {
    assertThat(found.token()).isEqualTo(expected.token());
    assertThat(found.logProbability()).isCloseTo(expected.logProbability(), within(limit));
  }

  private static CakePrefill prefill(
      String backend, String precision, String mode, String writePolicy) {
    return new CakePrefill()
        .setModelPath(folder.resolve("model").toString())
        .setCachePath(folder.resolve("cache").toString())
        .setChunkTokens(32)
        .setMaxPromptTokens(400)
        .setTasks(2)
        .setThreads(1)
        .setBackend(backend)
        .setPrecision(precision)
        .setMode(mode)
        .setWritePolicy(writePolicy);
  }

  private static Map<Integer, Answer> answers(CakePrefill prefill) {
    Map<Integer, Answer> answers = new TreeMap<>();
    for (Row row : prefill.transform(prompts()).collectAsList()) {
      Row p = row.getStruct(2);
      assertThat(p.<String>getAs("status")).as("%s", row).isEqualTo("OK");
      double log = p.<Double>getAs("logProbability");
      answers.put(
          row.getInt(0),
          new Answer(
              p.<Integer>getAs("tokenId"),
              log,
              Double.doubleToLongBits(log),
              p.<Integer>getAs("loadedTokens")));
    }
    assertThat(answers).hasSize(PROMPTS);
    return answers;
  }

  private static Dataset<Row> prompts() {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < PROMPTS; i++) {
      String topic = i % 3 == 0 ? "red " : i % 3 == 1 ? "green " : "blue ";
      rows.add(
          RowFactory.create(i, "What all prompts begin with. ".repeat(4) + topic.repeat(9) + i));
    }
    StructType schema =
        new StructType().add("id", DataTypes.IntegerType).add("prompt", DataTypes.StringType);
    return spark.createDataFrame(rows, schema).repartition(3);
  }
}

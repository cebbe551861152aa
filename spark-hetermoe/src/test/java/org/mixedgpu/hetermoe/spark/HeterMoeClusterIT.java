package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.hetermoe.spark.gang.GangPlugin;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.local.LocalCluster;
import org.mixedgpu.local.WorkerSpec;
import org.mixedgpu.nn.checkpoint.Checkpoint;

/**
 * The estimator on a real Master, unequal Workers and an HDFS, each role on executors of its own
 * GPU generation. One cluster and one application for all tests.
 */
@Timeout(240)
class HeterMoeClusterIT {
  private static LocalCluster cluster;
  private static SparkSession spark;
  private static FileStore store;
  private static String root;

  @BeforeAll
  static void start() {
    cluster =
        LocalCluster.in(Path.of("target", "hetermoe-it-" + ProcessHandle.current().pid()))
            .worker(new WorkerSpec("new", 4, 4096, Map.of("gpu-ampere", List.of("0", "1"))))
            .worker(new WorkerSpec("old", 4, 4096, Map.of("gpu-volta", List.of("0", "1"))))
            .hdfs()
            .start();
    SparkConf conf = new SparkConf(false).setAppName("hetermoe-it");
    cluster.conf().forEach(conf::set);
    conf.set("spark.plugins", GangPlugin.class.getName());
    conf.set("spark.dynamicAllocation.enabled", "true");
    conf.set("spark.executor.cores", "1");
    conf.set("spark.executor.memory", "512m");
    conf.set("spark.locality.wait", "0");
    conf.set("spark.ui.enabled", "false");
    spark = SparkSession.builder().config(conf).getOrCreate();
    store = HadoopSettings.store(conf);
    root = cluster.hdfs().orElseThrow() + "/it";
    write("small.json", HeterMoeIT.smallModel());
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 200; i++) {
      text.append(String.format(Locale.ROOT, "Line %d: half of %d is %d.%n", i, 2 * i, i));
    }
    write("text.txt", text.toString());
  }

  @AfterAll
  static void stop() {
    if (spark != null) {
      spark.stop();
    }
    cluster.close();
  }

  @ParameterizedTest(name = "{0} attention, {1} expert members, {2} micro-batches")
  @CsvSource({"1, 1, 1", "2, 1, 2", "1, 2, 3", "2, 2, 4"})
  void aGangTrainsWhatOneProcessTrains(int attention, int experts, int microBatches) {
    String name = "m" + attention + experts + microBatches;
    HeterMoe run = estimator(attention, experts, name).setMicroBatches(microBatches);
    HeterMoeModel model = run.fit(text());
    TrainedModels.Difference difference =
        TrainedModels.toOneProcess(run, store, model.folder(), tokens(model));
    System.out.println(name + ": " + difference);
    assertThat(difference.rms()).as("%s", difference).isLessThanOrEqualTo(1e-6);
    assertThat(difference.shareWithin1e5()).as("%s", difference).isGreaterThanOrEqualTo(0.9999);
    assertThat(model.history().count()).isEqualTo(10);
  }

  @Test
  void theSameSeedGivesTheSameBits() {
    List<String> digests = new ArrayList<>();
    for (String name : List.of("first", "second")) {
      HeterMoeModel model = estimator(2, 2, name).fit(text());
      digests.add(Checkpoint.digest(store, model.folder()));
    }
    assertThat(digests.get(1)).isEqualTo(digests.get(0));
    HeterMoeModel other = estimator(2, 2, "other").setSeed(2).fit(text());
    assertThat(Checkpoint.digest(store, other.folder())).isNotEqualTo(digests.get(0));
  }

  private static HeterMoe estimator(int attention, int experts, String name) {
    return new HeterMoe()
        .setModel(root + "/small.json")
        .setWorkDir(root + "/work-" + name)
        .setAttentionExecutors(attention)
        .setExpertExecutors(experts)
        .setAttentionResource("gpu-ampere")
        .setExpertResource("gpu-volta")
        .setSequenceLength(32)
        .setBatchSize(24)
        .setSteps(10)
        .setLearningRate(1e-3);
  }

  private static Dataset<Row> text() {
    return spark.read().text(root + "/text.txt").toDF("text");
  }

  /** The shards lie beside the model in the run's folder. */
  private static String tokens(HeterMoeModel model) {
    return model.folder().replaceAll("/model$", "/tokens");
  }

  private static void write(String name, String text) {
    try (NewFile file = store.create(FileStore.in(root, name))) {
      file.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
      assertThat(file.publish()).isTrue();
    }
  }
}

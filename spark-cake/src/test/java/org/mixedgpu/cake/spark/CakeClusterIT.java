package org.mixedgpu.cake.spark;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.cake.prefill.TinyFolder;
import org.mixedgpu.cake.prefill.TinyModel;
import org.mixedgpu.cake.store.Bundles;
import org.mixedgpu.cake.store.StoredChunk;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.io.RangeReader;
import org.mixedgpu.local.LocalCluster;
import org.mixedgpu.local.Submission;
import org.mixedgpu.local.WorkerSpec;

/** A Master, two Workers, a NameNode and a DataNode, each a process: what a user's cluster does. */
@Timeout(600)
class CakeClusterIT {
  @TempDir Path folder;

  /** Submitted to the cluster; prints one line per run and row. */
  public static final class Twice {
    private Twice() {}

    public static void main(String[] args) {
      SparkSession spark = SparkSession.builder().appName("cake").getOrCreate();
      try {
        CakePrefill prefill =
            new CakePrefill()
                .setModelPath(args[0])
                .setCachePath(args[1])
                .setChunkTokens(16)
                .setMaxPromptTokens(400)
                .setTasks(2)
                .setThreads(1)
                .setWritePolicy("all")
                .setBundleBytes(1 << 16);
        print("first", prefill.transform(prompts(spark)));
        print("second", prefill.setMode("load").transform(prompts(spark)));
        HadoopFileStore files = HadoopFileStore.of(spark.sparkContext().hadoopConfiguration());
        damage(files, args[1]);
        print("damaged", prefill.transform(prompts(spark)));
        print("healed", prefill.transform(prompts(spark)));
      } finally {
        spark.stop();
      }
    }

    private static Dataset<Row> prompts(SparkSession spark) {
      List<Row> rows = new java.util.ArrayList<>();
      for (int i = 0; i < 12; i++) {
        String topic = i % 3 == 0 ? "red " : i % 3 == 1 ? "green " : "blue ";
        rows.add(
            RowFactory.create(i, "What all prompts begin with. ".repeat(4) + topic.repeat(9) + i));
      }
      StructType schema =
          new StructType().add("id", DataTypes.IntegerType).add("prompt", DataTypes.StringType);
      return spark.createDataFrame(rows, schema).repartition(3);
    }

    private static void print(String run, Dataset<Row> answers) {
      for (Row row : answers.collectAsList()) {
        Row p = row.getStruct(2);
        System.out.printf(
            "RUN %s %d %d %s %d %d %d%n",
            run,
            row.getInt(0),
            p.<Integer>getAs("tokenId"),
            p.<String>getAs("status"),
            Double.doubleToLongBits(p.<Double>getAs("logProbability")),
            p.<Integer>getAs("loadedTokens"),
            p.<Integer>getAs("computedTokens"));
      }
    }

    /** Replaces every bundle by one with a bit of its first chunk's payload flipped. */
    private static void damage(FileStore files, String cache) {
      for (Bundles.Bundle bundle : Bundles.list(files, cache)) {
        ByteBuffer bytes;
        try (RangeReader reader = files.open(bundle.path())) {
          bytes = ByteBuffer.allocate((int) reader.size());
          reader.readFully(0, bytes);
        }
        StoredChunk chunk = bundle.chunks().get(0);
        int at = (int) chunk.offset() + chunk.payloadOffset();
        bytes.put(at, (byte) (bytes.get(at) ^ 1)).flip();
        files.delete(bundle.path());
        try (NewFile file = files.create(bundle.path())) {
          file.write(bytes);
          file.publish();
        }
      }
    }
  }

  private record Answer(int token, String status, long bits, int loaded, int computed) {}

  @Test
  void theSecondRunLoadsFromHdfsAndDamageIsAMiss() {
    try (LocalCluster cluster =
        LocalCluster.in(folder.resolve("cluster"))
            .hdfs()
            .worker(new WorkerSpec("one", 1, 1024, Map.of()))
            .worker(new WorkerSpec("two", 1, 1024, Map.of()))
            .start()) {
      String hdfs = cluster.hdfs().orElseThrow().toString();
      String model = hdfs + "/model";
      String cache = hdfs + "/cache";
      TinyFolder.write(
          HadoopFileStore.of(Map.of("fs.defaultFS", hdfs).entrySet()),
          model,
          TinyModel.sparse(),
          3);
      Submission.Result result =
          cluster.submit(
              Submission.of(
                  Twice.class.getName(),
                  Map.of("spark.executor.memory", "640m", "spark.executor.cores", "1"),
                  List.of(model, cache)));
      assertThat(result.exitCode()).as(result.output()).isZero();
      Map<String, Map<Integer, Answer>> runs = parse(result.output());
      Map<Integer, Answer> first = runs.get("first");
      assertThat(first).hasSize(12);
      assertThat(first.values()).allMatch(a -> a.status().equals("OK") && a.loaded() == 0);
      for (String run : List.of("second", "damaged", "healed")) {
        Map<Integer, Answer> answers = runs.get(run);
        assertThat(answers).hasSize(12);
        assertThat(answers.values().stream().mapToInt(Answer::loaded).sum()).as(run).isPositive();
        first.forEach(
            (id, answer) -> {
              assertThat(answers.get(id).token()).isEqualTo(answer.token());
              assertThat(answers.get(id).bits()).isEqualTo(answer.bits());
            });
      }
      assertThat(runs.get("second").values()).allMatch(a -> a.status().equals("OK"));
      assertThat(runs.get("damaged").values()).anyMatch(a -> a.status().equals("RECOMPUTED"));
      assertThat(runs.get("healed").values()).allMatch(a -> a.status().equals("OK"));
    }
  }

  private static Map<String, Map<Integer, Answer>> parse(String output) {
    Map<String, Map<Integer, Answer>> runs = new TreeMap<>();
    for (String line : output.lines().filter(l -> l.startsWith("RUN ")).toList()) {
      String[] f = line.split(" ", -1);
      Answer answer =
          new Answer(
              Integer.parseInt(f[3]),
              f[4],
              Long.parseLong(f[5]),
              Integer.parseInt(f[6]),
              Integer.parseInt(f[7]));
      runs.computeIfAbsent(f[1], r -> new HashMap<>()).put(Integer.parseInt(f[2]), answer);
    }
    return runs;
  }
}

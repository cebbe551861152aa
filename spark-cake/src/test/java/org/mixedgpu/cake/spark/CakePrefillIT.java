package org.mixedgpu.cake.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.ml.Pipeline;
import org.apache.spark.ml.PipelineModel;
import org.apache.spark.ml.PipelineStage;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.apache.spark.util.LongAccumulator;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.cake.prefill.TinyFolder;
import org.mixedgpu.cake.prefill.TinyModel;
import org.mixedgpu.cake.store.Bundles;
import org.mixedgpu.io.HadoopFileStore;

/** On local[2]: two tasks at a time in one JVM. */
class CakePrefillIT {
  private static final StructType SCHEMA =
      new StructType().add("id", DataTypes.IntegerType).add("prompt", DataTypes.StringType);
  private static final String STEM = "A stem that all of the prompts share, ".repeat(4);

  @TempDir static Path shared;
  private static SparkSession spark;
  private static String model;

  /** Tasks are in this JVM. */
  private static final AtomicBoolean SECOND_TIME = new AtomicBoolean();

  @TempDir Path folder;

  @BeforeAll
  static void start() {
    spark =
        SparkSession.builder()
            .master("local[2]")
            .config("spark.ui.enabled", false)
            .config("spark.sql.shuffle.partitions", 2)
            .getOrCreate();
    model = shared.resolve("model").toString();
    TinyFolder.write(HadoopFileStore.ofDefaults(), model, TinyModel.sparse(), 3);
  }

  @AfterAll
  static void stop() {
    spark.stop();
    assertThat(SharedModel.closeUnused()).as("tensors left open").isEmpty();
    assertThat(SharedModel.inUse()).isZero();
  }

  private CakePrefill prefill;

  @BeforeEach
  void transformer() {
    prefill =
        new CakePrefill()
            .setModelPath(model)
            .setCachePath(folder.resolve("cache").toString())
            .setChunkTokens(16)
            .setMaxPromptTokens(400)
            .setTasks(2)
            .setWritePolicy("all")
            .setLabels("yes", "no")
            .setEmbedding(true);
  }

  private static Dataset<Row> prompts(String... texts) {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < texts.length; i++) {
      rows.add(RowFactory.create(i, texts[i]));
    }
    return spark.createDataFrame(rows, SCHEMA).repartition(3, functions.col("id"));
  }

  private static Dataset<Row> sharing() {
    String[] texts = new String[8];
    for (int i = 0; i < texts.length; i++) {
      texts[i] = STEM + (i % 2 == 0 ? "about cats, " : "about dogs, ").repeat(3) + "question " + i;
    }
    return prompts(texts);
  }

  /** Rows by id. */
  private static Map<Integer, Row> collect(Dataset<Row> answers) {
    Map<Integer, Row> byId = new HashMap<>();
    for (Row row : answers.collectAsList()) {
      assertThat(byId.put(row.getInt(0), row)).isNull();
    }
    return byId;
  }

  private static long sum(Map<Integer, Row> rows, String field) {
    return rows.values().stream().mapToLong(r -> r.getStruct(2).<Integer>getAs(field)).sum();
  }

  private static List<Object> answer(Row row) {
    Row p = row.getStruct(2);
    List<Object> values = new ArrayList<>();
    for (String field :
        List.of(
            "tokenId", "token", "logProbability", "topK", "labelScores", "embedding", "tokens")) {
      values.add(p.getAs(field));
    }
    return values;
  }

  @Test
  void theSecondRunLoadsWhatTheFirstWroteWithTheSameAnswers() {
    Map<Integer, Row> first = collect(prefill.transform(sharing()));
    assertThat(first).hasSize(8);
    assertThat(sum(first, "loadedTokens")).isZero();
    // Shared in memory: the stem is computed once per task, not once per prompt.
    assertThat(sum(first, "reusedTokens")).isGreaterThan(6L * (STEM.length() / 16 * 16));
    assertThat(prefill.lastPlan().orElseThrow().plannedTokens())
        .isEqualTo(sum(first, "computedTokens"));

    Map<Integer, Row> second = collect(prefill.setMode("load").transform(sharing()));
    assertThat(sum(second, "loadedTokens")).isPositive();
    assertThat(sum(second, "computedTokens")).isLessThanOrEqualTo(8 * 16);
    Map<Integer, Row> third = collect(prefill.setMode("cake").transform(sharing()));
    Map<Integer, Row> fourth = collect(prefill.setMode("compute").transform(sharing()));
    Map<Integer, Row> alone = collect(prefill.setCachePath("").transform(sharing()));
    for (int id = 0; id < 8; id++) {
      assertThat(first.get(id).getStruct(2).<String>getAs("status")).isEqualTo("OK");
      assertThat(first.get(id).getStruct(2).<String>getAs("device")).startsWith("cpu");
      assertThat(answer(second.get(id))).isEqualTo(answer(first.get(id)));
      assertThat(answer(third.get(id))).isEqualTo(answer(first.get(id)));
      assertThat(answer(fourth.get(id))).isEqualTo(answer(first.get(id)));
      assertThat(answer(alone.get(id))).isEqualTo(answer(first.get(id)));
    }
  }

  @Test
  void onlyWhatAnotherPromptHasIsWrittenUnlessAskedFor() throws IOException {
    prefill.setWritePolicy("none");
    collect(prefill.transform(sharing()));
    assertThat(folder.resolve("cache")).doesNotExist();
    prefill.setWritePolicy("shared");
    collect(prefill.transform(sharing()));
    Map<Integer, Row> second = collect(prefill.setMode("load").transform(sharing()));
    // BOS, the stem, what follows about cats or dogs, and "question "; the rest is one prompt's.
    int common = (1 + STEM.length() + 36 + 9) / 16 * 16;
    assertThat(sum(second, "loadedTokens")).isPositive();
    for (Row row : second.values()) {
      Row p = row.getStruct(2);
      assertThat(p.<Integer>getAs("loadedTokens") + p.<Integer>getAs("reusedTokens"))
          .isEqualTo(common);
    }
    assertThat(sum(second, "computedTokens")).isPositive();
  }

  @Test
  void aBadRowIsAStatusAndOtherColumnsPass() {
    Dataset<Row> rows = prompts("fine", null, "", "long".repeat(200), "fine");
    Map<Integer, Row> answers = collect(prefill.transform(rows));
    assertThat(answers).hasSize(5);
    for (int id : new int[] {0, 4}) {
      assertThat(answers.get(id).getStruct(2).<String>getAs("status")).isEqualTo("OK");
      assertThat(answers.get(id).getString(1)).isEqualTo("fine");
    }
    Map<Integer, String> errors =
        Map.of(
            1, "The prompt is null",
            2, "The prompt is empty",
            3, "has 801 tokens, at most 400");
    errors.forEach(
        (id, error) -> {
          Row p = answers.get(id).getStruct(2);
          assertThat(p.<String>getAs("status")).isEqualTo("BAD_INPUT");
          assertThat(p.<String>getAs("error")).contains(error);
          assertThat((Object) p.getAs("tokenId")).isNull();
        });
  }

  @Test
  void tokenIdsAreAnInputToo() {
    StructType schema =
        new StructType()
            .add("id", DataTypes.IntegerType)
            .add("ids", DataTypes.createArrayType(DataTypes.IntegerType));
    Dataset<Row> rows =
        spark.createDataFrame(
            List.of(
                RowFactory.create(0, new int[] {104, 105}),
                RowFactory.create(1, new int[] {104, 300}),
                RowFactory.create(2, new int[] {-1}),
                RowFactory.create(3, new int[0])),
            schema);
    Map<Integer, Row> answers = collect(prefill.setInputCol("ids").transform(rows));
    assertThat(answers.get(0).getStruct(2).<String>getAs("status")).isEqualTo("OK");
    for (int id = 1; id < 4; id++) {
      assertThat(answers.get(id).getStruct(2).<String>getAs("status")).isEqualTo("BAD_INPUT");
    }
    assertThat(answers.get(1).getStruct(2).<String>getAs("error")).contains("id 300");
    assertThat(answers.get(0).getStruct(2).<Integer>getAs("tokens")).isEqualTo(2);
  }

  @Test
  void columnsOfAnyTypePassAndLongTokenIdsAreRead() {
    Dataset<Row> rows =
        spark.sql(
            "select 0 as id, array(104L, 105L) as ids, timestamp'2024-02-03 04:05:06' as t,"
                + " date'2024-02-03' as d, 1.25bd as money, map('a', 1) as m, named_struct('x',"
                + " array(1, 2)) as s, cast('xyz' as binary) as b, cast(null as double) as n");
    Row before = rows.first();
    Row after = prefill.setInputCol("ids").transform(rows).first();
    assertThat(after.length()).isEqualTo(before.length() + 1);
    for (int i = 0; i < before.length(); i++) {
      assertThat(after.get(i)).isEqualTo(before.get(i));
    }
    assertThat(after.getStruct(before.length()).<String>getAs("status")).isEqualTo("OK");
    assertThat(after.getStruct(before.length()).<Integer>getAs("tokens")).isEqualTo(2);
  }

  @Test
  void whatALimitLeavesUnreadDoesNotStopTheWriting() {
    prefill.setTasks(1);
    assertThat(prefill.transform(sharing()).limit(1).collectAsList()).hasSize(1);
    Map<Integer, Row> second = collect(prefill.setMode("load").transform(sharing()));
    assertThat(sum(second, "loadedTokens")).isPositive();
  }

  @Test
  void probabilitiesAndLabelsAgree() {
    Row p = collect(prefill.setTopK(300).transform(prompts("fine"))).get(0).getStruct(2);
    List<Row> top = p.getList(p.fieldIndex("topK"));
    assertThat(top).hasSize(300);
    double sum = top.stream().mapToDouble(r -> Math.exp(r.getDouble(1))).sum();
    assertThat(sum).isCloseTo(1, within(1e-9));
    assertThat(top.get(0).getInt(0)).isEqualTo(p.<Integer>getAs("tokenId"));
    assertThat(p.getList(p.fieldIndex("labelScores"))).hasSize(2);
    assertThat(p.getList(p.fieldIndex("embedding"))).hasSize(32);
  }

  @Test
  void aDamagedBundleIsAMissAndTheRowSaysSo() throws IOException {
    Map<Integer, Row> first = collect(prefill.transform(sharing()));
    List<Path> bundles;
    try (Stream<Path> files = Files.list(folder.resolve("cache"))) {
      bundles = files.filter(f -> f.toString().endsWith(".kv.arrow")).toList();
    }
    assertThat(bundles).isNotEmpty();
    for (Path bundle : bundles) {
      byte[] bytes = Files.readAllBytes(bundle);
      // The first message holds the last chunk of a prompt; its payload is most of it.
      bytes[bytes.length / 4] ^= 1;
      Files.write(bundle, bytes);
    }
    Map<Integer, Row> second = collect(prefill.setMode("load").transform(sharing()));
    long recomputed = 0;
    for (int id = 0; id < 8; id++) {
      assertThat(answer(second.get(id))).isEqualTo(answer(first.get(id)));
      Row p = second.get(id).getStruct(2);
      if (p.<String>getAs("status").equals("RECOMPUTED")) {
        recomputed++;
        assertThat(p.<String>getAs("error")).contains("DAMAGED").contains(".kv.arrow");
      }
    }
    assertThat(recomputed).isPositive();
    // What was damaged was written again by that run: the next one loads all.
    Map<Integer, Row> third = collect(prefill.transform(sharing()));
    assertThat(third.values())
        .allSatisfy(r -> assertThat(r.getStruct(2).<String>getAs("status")).isEqualTo("OK"));
    assertThat(sum(third, "computedTokens")).isLessThanOrEqualTo(8 * 16);
  }

  /** One task then has all partitions, and must not have what they need at one time. */
  @Test
  void partitionsOfOneTaskShareItsMemory() {
    prefill.setTasks(8).setCachePath("");
    long one = 2L * 2 * 2 * 8 * 1024 * Float.BYTES;
    prefill.setMaxPromptTokens(1000).setTensorBytes(3 * one);
    Map<Integer, Row> answers = collect(prefill.transform(sharing()).coalesce(1));
    assertThat(answers).hasSize(8);
    assertThat(answers.values())
        .allSatisfy(r -> assertThat(r.getStruct(2).<String>getAs("status")).isEqualTo("OK"));
  }

  /** What the driver has read gives the keys; other weights under them would be believed. */
  @Test
  void aModelThatWasReplacedSinceIsNotUsed() throws IOException {
    String replaced = folder.resolve("replaced").toString();
    TinyFolder.write(HadoopFileStore.ofDefaults(), replaced, TinyModel.sparse(), 3);
    Dataset<Row> answers = prefill.setModelPath(replaced).transform(sharing());
    SharedModel.closeUnused();
    Files.writeString(Path.of(replaced, "README.md"), "Other files may come.");
    assertThat(answers.collectAsList()).hasSize(8);
    try (Stream<Path> files = Files.list(Path.of(replaced))) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    TinyFolder.write(HadoopFileStore.ofDefaults(), replaced, TinyModel.sparse(), 4);
    SharedModel.closeUnused();
    assertThatThrownBy(answers::collectAsList)
        .hasStackTraceContaining("is no longer the one that transform has read");
  }

  @Test
  void answersThatAreNoNumbersAreAStatusAndAreNotStored() throws IOException {
    String other = folder.resolve("overflowing").toString();
    TinyFolder.write(HadoopFileStore.ofDefaults(), other, TinyModel.sparse(), 3);
    Path weights = Path.of(other, "model.safetensors");
    byte[] bytes = Files.readAllBytes(weights);
    // The last tensors' weights are 3.4e38.
    Arrays.fill(bytes, bytes.length - 4096, bytes.length, (byte) 0x7F);
    Files.write(weights, bytes);
    Map<Integer, Row> answers = collect(prefill.setModelPath(other).transform(sharing()));
    assertThat(answers.values())
        .hasSize(8)
        .allSatisfy(
            r -> {
              Row p = r.getStruct(2);
              assertThat(p.<String>getAs("status")).isEqualTo("NOT_FINITE");
              assertThat(p.<String>getAs("error")).contains("fp32");
              assertThat((Object) p.getAs("tokenId")).isNull();
            });
    assertThat(folder.resolve("cache")).doesNotExist();
  }

  @Test
  void itIsAStageOfAPipelineAndSurvivesSavingAndLoading() throws IOException {
    Pipeline pipeline = new Pipeline().setStages(new PipelineStage[] {prefill});
    PipelineModel fitted = pipeline.fit(prompts("fine"));
    String path = folder.resolve("pipeline").toString();
    fitted.write().save(path);
    PipelineModel loaded = PipelineModel.load(path);
    List<Object> expected = answer(collect(fitted.transform(prompts("fine"))).get(0));
    assertThat(answer(collect(loaded.transform(prompts("fine"))).get(0))).isEqualTo(expected);

    String alone = folder.resolve("alone").toString();
    prefill.write().save(alone);
    CakePrefill again = CakePrefill.load(alone);
    assertThat(again.uid()).isEqualTo(prefill.uid());
    for (CakeOption<?> option : CakeOptions.ALL) {
      assertThat(again.value(option)).isEqualTo(prefill.value(option));
    }
  }

  @Test
  void whatCanNotWorkIsRefusedBeforeAnyJob() {
    assertThatThrownBy(() -> prefill.setModelPath("/nowhere").transform(prompts("x")))
        .hasMessageContaining("/nowhere");
    assertThatThrownBy(
            () -> prefill.setModelPath(model).setLabels("x".repeat(1100)).transform(prompts("x")))
        .hasMessageContaining("no prompt fits");
  }

  private int stored() {
    return Bundles.list(HadoopFileStore.ofDefaults(), folder.resolve("cache").toString()).stream()
        .mapToInt(bundle -> bundle.chunks().size())
        .sum();
  }

  @Test
  void anAnswerThatIsUsedAgainIsNotStoredAgain() {
    // So small that each task begins several bundles.
    Dataset<Row> answers = prefill.setBundleBytes(20_000).transform(sharing());
    // A use that ends early stores the beginning.
    answers.limit(1).collectAsList();
    assertThat(stored()).isPositive();
    Map<Integer, Row> first = collect(answers);
    int once = stored();
    Map<Integer, Row> second = collect(answers);
    assertThat(stored()).isEqualTo(once);
    // In one task of Spark's the tasks of the plan follow each other.
    collect(answers.coalesce(1));
    assertThat(stored()).isEqualTo(once);
    for (int id = 0; id < 8; id++) {
      assertThat(answer(second.get(id))).isEqualTo(answer(first.get(id)));
    }
    Map<Integer, Row> loaded = collect(prefill.setMode("load").transform(sharing()));
    assertThat(sum(loaded, "computedTokens")).isLessThanOrEqualTo(8 * 16);
  }

  /** What a costly Dataset counts as it is read; no shuffle, whose files would hide a reading. */
  private static Dataset<Row> counted(LongAccumulator reads, int partitions) {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < 12; i++) {
      rows.add(RowFactory.create(i, STEM + "question " + i));
    }
    JavaSparkContext context = JavaSparkContext.fromSparkContext(spark.sparkContext());
    return spark.createDataFrame(
        context
            .parallelize(rows, partitions)
            .map(
                row -> {
                  reads.add(1);
                  return row;
                }),
        SCHEMA);
  }

  @Test
  void planningReadsTheInputOnce() {
    LongAccumulator reads = spark.sparkContext().longAccumulator("reads");
    Dataset<Row> answers = prefill.transform(counted(reads, 3));
    assertThat(reads.value()).isEqualTo(12);
    Map<Integer, Row> byId = collect(answers);
    assertThat(reads.value()).isEqualTo(24);
    assertThat(byId).hasSize(12);
    byId.forEach((id, row) -> assertThat(row.getString(1)).isEqualTo(STEM + "question " + id));
    // Each row has found the place that was planned for it.
    assertThat(prefill.lastPlan().orElseThrow().plannedTokens())
        .isEqualTo(sum(byId, "computedTokens"));
  }

  /** Its answers are right, if not as cheap; partitions shrink and grow, and one was empty. */
  @Test
  void aDatasetThatGivesOtherRowsTheSecondTimeIsAnsweredInFull() {
    int[][] planned = {{0, 1, 2}, {}, {3, 4, 5, 6}, {7}};
    int[][] read = {{6, 2}, {4, 8}, {1, 3, 9, 0, 5}, {}};
    JavaSparkContext context = JavaSparkContext.fromSparkContext(spark.sparkContext());
    SECOND_TIME.set(false);
    Dataset<Row> changing =
        spark.createDataFrame(
            context
                .parallelize(List.of(0, 1, 2, 3), 4)
                .flatMap(
                    i ->
                        Arrays.stream((SECOND_TIME.get() ? read : planned)[i])
                            .mapToObj(id -> RowFactory.create(id, STEM + "question " + id))
                            .iterator()),
            SCHEMA);
    Dataset<Row> answers = prefill.transform(changing);
    SECOND_TIME.set(true);
    Map<Integer, Row> byId = collect(answers);
    assertThat(byId).containsOnlyKeys(0, 1, 2, 3, 4, 5, 6, 8, 9);
    byId.forEach((id, row) -> assertThat(row.getString(1)).isEqualTo(STEM + "question " + id));
    Map<Integer, Row> steady = collect(prefill.transform(changing));
    byId.forEach((id, row) -> assertThat(answer(row)).isEqualTo(answer(steady.get(id))));
  }

  @Test
  void anEmptyDatasetGivesAnEmptyAnswer() {
    Dataset<Row> answers = prefill.transform(prompts("x").limit(0));
    assertThat(answers.count()).isZero();
    assertThat(answers.columns()).containsExactly("id", "prompt", "prefill");
  }
}

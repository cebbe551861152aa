package org.mixedgpu.hetermoe.spark;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;
import org.apache.spark.ml.Pipeline;
import org.apache.spark.ml.PipelineModel;
import org.apache.spark.ml.PipelineStage;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.expressions.UserDefinedFunction;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.hetermoe.spark.data.CharacterTokenizer;
import org.mixedgpu.hetermoe.spark.data.CorpusReader;
import org.mixedgpu.hetermoe.spark.data.CorpusWriter;
import org.mixedgpu.hetermoe.spark.data.PackReport;
import org.mixedgpu.io.FileEntry;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.checkpoint.Checkpoint;

/** The estimator in one JVM, members as threads. */
class HeterMoeIT {
  private static final FileStore STORE = HadoopFileStore.ofDefaults();

  /** Small models of two families, with room for one more field. */
  private static final String OLMOE =
      """
      {"model_type":"olmoe","hidden_size":32,"intermediate_size":48,"num_hidden_layers":2,
       "num_attention_heads":4,"num_experts":4,"num_experts_per_tok":2,
       "max_position_embeddings":512,"rms_norm_eps":1e-5,"vocab_size":272,$}
      """;

  private static final String QWEN3 =
      OLMOE
          .replace("olmoe", "qwen3_moe")
          .replace("$", "\"moe_intermediate_size\":48,\"head_dim\":8,$");

  private static SparkSession spark;

  @TempDir Path folder;

  @BeforeAll
  static void start() {
    spark =
        SparkSession.builder()
            .master("local[2]")
            .config("spark.ui.enabled", false)
            .config("spark.sql.shuffle.partitions", 2)
            .getOrCreate();
  }

  @AfterAll
  static void stop() {
    spark.stop();
  }

  @Test
  void aPipelineTrainsScoresSavesAndLoads() throws IOException {
    Dataset<Row> text = text();
    Pipeline pipeline =
        new Pipeline()
            .setStages(new PipelineStage[] {estimator(1, 1).setSteps(30).setLearningRate(1e-2)});
    PipelineModel fitted = pipeline.fit(text);
    HeterMoeModel model = (HeterMoeModel) fitted.stages()[0];

    List<Row> history = model.history().collectAsList();
    assertThat(history).hasSize(30);
    assertThat(history.get(29).<Double>getAs("loss"))
        .isLessThan(history.get(0).<Double>getAs("loss") - 1);
    assertThat(history).allMatch(step -> step.<Double>getAs("lossScale") == 1);
    assertThat(history).allMatch(step -> step.<Boolean>getAs("updated"));

    List<Row> rows = fitted.transform(text).select("id", "score.*").orderBy("id").collectAsList();
    assertThat(rows).hasSize(43);
    assertThat(rows.get(40).<String>getAs("status")).isEqualTo("BAD_INPUT");
    assertThat(rows.get(40).<String>getAs("error")).contains("null");
    assertThat(rows.get(41).<String>getAs("error")).contains("empty text");
    Row first = rows.get(0);
    assertThat(first.<String>getAs("status")).isEqualTo("OK");
    assertThat(first.<Double>getAs("perplexity"))
        .isEqualTo(Math.exp(-first.<Double>getAs("meanLogLikelihood")))
        .isLessThan(40);

    String saved = folder.resolve("saved").toString();
    fitted.write().save(saved);
    PipelineModel loaded = PipelineModel.load(saved);
    assertThat(((HeterMoeModel) loaded.stages()[0]).folder()).startsWith(saved);
    assertThat(loaded.transform(text).select("id", "score.*").orderBy("id").collectAsList())
        .isEqualTo(rows);

    String stages = folder.resolve("pipeline").toString();
    pipeline.write().save(stages);
    HeterMoe again = (HeterMoe) Pipeline.load(stages).getStages()[0];
    assertThat(again.value(TrainOptions.STEPS)).isEqualTo(30);
  }

  @Test
  void manyMembersTrainWhatOneProcessTrains() throws IOException {
    HeterMoe run = estimator(2, 2).setMicroBatches(2).setAuxLoss("megatron");
    HeterMoeModel model = run.fit(text());
    TrainedModels.Difference difference =
        TrainedModels.toOneProcess(run, STORE, model.folder(), tokens());
    assertThat(difference.rms()).as("%s", difference).isLessThanOrEqualTo(1e-6);
    assertThat(difference.shareWithin1e5()).as("%s", difference).isGreaterThanOrEqualTo(0.9999);

    HeterMoeModel again = run.fit(text());
    assertThat(again.folder()).isNotEqualTo(model.folder());
    assertThat(Checkpoint.digest(STORE, again.folder()))
        .as("same seed, same bits")
        .isEqualTo(Checkpoint.digest(STORE, model.folder()));
  }

  @Test
  void aTrainedFolderIsContinuedFromTokenIds() throws IOException {
    HeterMoeModel model = estimator(1, 1).fit(text());
    List<Row> ids = new ArrayList<>();
    for (int i = 0; i < 20; i++) {
      ids.add(RowFactory.create((Object) new Integer[] {65 + i, 66, 67, 68, 69, 70, 71, 72}));
    }
    StructType schema =
        new StructType().add("ids", DataTypes.createArrayType(DataTypes.IntegerType));
    HeterMoe next =
        estimator(1, 2).setModel(model.folder()).setTokensCol("ids").setOutput(path("next"));
    HeterMoeModel continued = next.fit(spark.createDataFrame(ids, schema));
    assertThat(continued.folder()).isEqualTo(path("next"));
    assertThat(continued.transform(spark.createDataFrame(ids, schema)).select("score.status"))
        .satisfies(data -> assertThat(data.distinct().collectAsList()).hasToString("[[OK]]"));
    assertThatThrownBy(() -> next.fit(spark.createDataFrame(ids, schema)))
        .hasMessageContaining("is not empty; choose a new one");
  }

  @ParameterizedTest
  @ValueSource(ints = {256, 272})
  void idsOfTheUsersOwnNeedNoTokenizer(int vocabulary) throws IOException {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < 64; i++) {
      rows.add(RowFactory.create((Object) new Integer[] {i, 250, 251, 252}));
    }
    StructType schema =
        new StructType().add("ids", DataTypes.createArrayType(DataTypes.IntegerType));
    // The byte tokenizer has 259 ids: too many for one of these, and 257 would be its end.
    String model = smallModel().replace("256", "null").replace("257", "null");
    HeterMoe run =
        estimator(1, 1)
            .setModel(config("ids", model.replace("272", Integer.toString(vocabulary))))
            .setTokensCol("ids")
            .setSteps(1);
    Dataset<Row> data = spark.createDataFrame(rows, schema).coalesce(1);
    HeterMoeModel trained = run.fit(data);
    assertThat(STORE.list(trained.folder()).stream().map(FileEntry::name))
        .contains("config.json")
        .doesNotContain("tokenizer.json", "tokenizer_config.json");
    try (CorpusReader reader = new CorpusReader(STORE, TrainedModels.corpus(STORE, tokens(), 4))) {
      for (int i = 0; i < 64; i++) {
        assertThat(reader.sequence(i)).containsExactly(i, 250, 251, 252);
      }
    }
    assertThat(trained.transform(data).select("score.status").distinct().collectAsList())
        .hasToString("[[OK]]");
  }

  @Test
  void whatCannotWorkIsSaidBeforeAnyJob() throws IOException {
    refused(estimator(1, 1).setWorkDir(""), "Neither workDir nor output is set");
    refused(estimator(1, 9), "expertExecutors is 9 and the model has 4 experts");
    refused(estimator(1, 1).setModel("tiny-mistral"), "Model 'tiny-mistral' is none");
    refused(estimator(1, 1).setWarmupSteps(10), "warm up for fewer steps");
    refused(estimator(1, 1).setSequenceLength(100_000), "takes at most 512 positions");
    refused(
        estimator(1, 1).setModel(config("olmoe", OLMOE.replace("$", "\"head_dim\":16"))),
        "head_dim is 16; expected hidden_size / num_attention_heads = 32 / 4");
    refused(
        estimator(2, 1).setMicroBatches(4).setBatchSize(7),
        "A batch of 7 sequences cannot be cut into 4 micro-batches for 2 attention ranks");
    refused(
        estimator(1, 1).setModel(config("end", smallModel().replace(":257", ":272"))),
        "eos_token_id is 272 and the model's vocabulary only 272 ids");
    refused(
        estimator(1, 1).setModel(config("dense", QWEN3.replace("$", "\"mlp_only_layers\":[0,1]"))),
        "has experts in none of its 2 layers");
    Path bare = Files.createDirectory(folder.resolve("bare"));
    Files.writeString(bare.resolve("config.json"), smallModel());
    refused(estimator(1, 1).setTokenizer("").setModel(bare.toString()), "has no tokenizer.json");
    assertThatThrownBy(() -> estimator(1, 1).setAuxCoefficient("Infinity").fit(text()))
        .hasMessageContaining("a number of 0 or more");
  }

  @Test
  void textsAreNotScoredWithoutTheModelsTokenizer() throws IOException {
    Path bare = Files.createDirectory(folder.resolve("bare"));
    Files.writeString(bare.resolve("config.json"), smallModel());
    assertThatThrownBy(() -> new HeterMoeModel().setModel(bare.toString()).transform(text()))
        .hasMessageContaining("has no tokenizer.json");
  }

  private void refused(HeterMoe run, String why) {
    assertThatThrownBy(() -> run.fit(text())).hasMessageContaining(why);
    assertThat(folder.resolve("work")).as("what jobs write").doesNotExist();
  }

  private String config(String name, String json) throws IOException {
    return Files.writeString(folder.resolve(name + ".json"), json).toString();
  }

  @Test
  void thePackingDependsOnTheOrderOfRowsOnly() {
    Dataset<Row> ordered = text().orderBy("id");
    List<List<Integer>> expected = null;
    for (int partitions : new int[] {1, 2, 5}) {
      // A range partitioning keeps the order of ids across partitions.
      PackReport packed =
          new CorpusWriter(
                  HadoopFileStore.ofDefaults(),
                  path("tokens-" + partitions),
                  CharacterTokenizer::new,
                  256,
                  10,
                  32)
              .write(
                  ordered
                      .repartitionByRange(partitions, ordered.col("id"))
                      .sortWithinPartitions("id"),
                  "text");
      assertThat(packed.badRows()).isEqualTo(3);
      assertThat(packed.problems()).containsEntry("empty text", 2L).containsEntry("null", 1L);
      List<List<Integer>> sequences = new ArrayList<>();
      try (CorpusReader reader = new CorpusReader(STORE, packed.corpus())) {
        for (long s = 0; s < packed.corpus().sequences(); s++) {
          sequences.add(Arrays.stream(reader.sequence(s)).boxed().toList());
        }
      }
      assertThat(packed.corpus().shards()).hasSize(partitions);
      expected = expected == null ? sequences : expected;
      assertThat(sequences).isEqualTo(expected);
    }
  }

  @Test
  void whatOpensATokenizerClosesIt() {
    Dataset<Row> data = text().repartition(3);
    CharacterTokenizer.OPENED.set(0);
    CharacterTokenizer.CLOSED.set(0);
    new CorpusWriter(
            HadoopFileStore.ofDefaults(), path("three"), CharacterTokenizer::new, 256, 10, 32)
        .write(data, "text");
    assertThat(CharacterTokenizer.OPENED).hasValue(3);
    assertThat(CharacterTokenizer.CLOSED).hasValue(3);
  }

  @Test
  void whatScoresClosesItsTokenizer() {
    Dataset<Row> data = text().repartition(3);
    CharacterTokenizer.OPENED.set(0);
    CharacterTokenizer.CLOSED.set(0);
    Deployment deployment = Deployment.of(spark.sparkContext().getConf(), "cpu", "fp32", 1, 0, 1);
    // No character is below 1, so that no model is needed.
    RowScores scores = new RowScores(path("none"), CharacterTokenizer::new, 1, deployment);
    UserDefinedFunction score = functions.udf(scores, RowScores.SCHEMA).asNondeterministic();
    assertThat(data.select(score.apply(data.col("text"))).collectAsList()).hasSize(43);
    assertThat(CharacterTokenizer.OPENED).hasValue(3);
    assertThat(CharacterTokenizer.CLOSED).hasValue(3);
  }

  @Test
  void tooLittleTextIsSaidWithItsCounts() {
    assertThatThrownBy(
            () ->
                new CorpusWriter(
                        HadoopFileStore.ofDefaults(),
                        path("few"),
                        CharacterTokenizer::new,
                        256,
                        10,
                        100_000)
                    .write(text(), "text"))
        .hasMessageContaining("packed 43 rows into 1,644 tokens, 0 sequences");
  }

  private HeterMoe estimator(long attention, long experts) throws IOException {
    Path config = folder.resolve("small.json");
    if (!Files.exists(config)) {
      Files.writeString(config, smallModel());
    }
    return new HeterMoe()
        .setModel(config.toString())
        .setWorkDir(path("work"))
        .setAttentionExecutors(attention)
        .setExpertExecutors(experts)
        .setSequenceLength(32)
        .setBatchSize(8)
        .setSteps(10)
        .setLearningRate(1e-3)
        .setThreads(1);
  }

  private String path(String name) {
    return folder.resolve(name).toString();
  }

  /** The token shards of the first run of this test. */
  private String tokens() throws IOException {
    try (Stream<Path> runs = Files.list(folder.resolve("work"))) {
      return runs.findFirst().orElseThrow().resolve("tokens").toString();
    }
  }

  static String smallModel() {
    return """
        {"architectures":["MixtralForCausalLM"],"model_type":"mixtral","bos_token_id":256,
         "eos_token_id":257,"hidden_act":"silu","hidden_size":32,"intermediate_size":48,
         "num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,
         "num_local_experts":4,"num_experts_per_tok":2,"router_aux_loss_coef":0.02,
         "output_router_logits":true,
         "max_position_embeddings":512,"rms_norm_eps":1e-5,"rope_theta":10000.0,
         "sliding_window":null,"tie_word_embeddings":false,"initializer_range":0.05,
         "vocab_size":272}
        """;
  }

  /** 40 sentences, and three rows that hold no text. */
  private static Dataset<Row> text() {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < 40; i++) {
      rows.add(
          RowFactory.create(
              i,
              String.format(
                  Locale.ROOT, "Sentence %d says that %d times %d is %d.", i, i, i, i * i)));
    }
    rows.add(RowFactory.create(40, null));
    rows.add(RowFactory.create(41, "   "));
    rows.add(RowFactory.create(42, ""));
    StructType schema =
        new StructType().add("id", DataTypes.IntegerType).add("text", DataTypes.StringType);
    return spark.createDataFrame(rows, schema).coalesce(2);
  }
}

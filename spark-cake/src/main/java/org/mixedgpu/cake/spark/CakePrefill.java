package org.mixedgpu.cake.spark;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaPairRDD;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.util.DefaultParamsReader;
import org.apache.spark.ml.util.DefaultParamsWritable;
import org.apache.spark.ml.util.Identifiable;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.plan.PlanSummary;
import org.mixedgpu.cake.plan.PrefillPlan;
import org.mixedgpu.cake.plan.PrefillPlanner;
import org.mixedgpu.cake.plan.PromptFacts;
import org.mixedgpu.cake.store.BundleStore;
import org.mixedgpu.cake.store.CacheSnapshot;
import org.mixedgpu.io.HadoopFileStore;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import scala.Tuple2;

/**
 * Prefills a column of prompts with a language model and adds a struct per row: the next token
 * ({@code tokenId}, {@code token}, {@code logProbability}), the {@code topK} likeliest, {@code
 * labelScores}, the {@code embedding}, what it cost ({@code tokens}, {@code computedTokens}, {@code
 * loadedTokens}, {@code reusedTokens}, {@code ttftMs}), the {@code device}, and {@code status} with
 * {@code error}: {@code OK}; {@code RECOMPUTED}, a right answer although stored chunks could not be
 * loaded; {@code BAD_INPUT} for a row that can't be answered. All other columns pass through; the
 * order of rows does not.
 *
 * <p>A prefix that prompts share is computed or loaded once per task, not once per prompt, and KV
 * caches of prefixes lie in {@code cachePath} for the next run. {@link #transform} runs a job to
 * plan; prefill itself runs when the result is used, and again each time, so cache or write it.
 */
public final class CakePrefill extends CakeParams implements DefaultParamsWritable {
  private static final long serialVersionUID = 1L;
  private static final Logger LOG = LoggerFactory.getLogger(CakePrefill.class);

  private static final String JOB_DESCRIPTION = "spark.job.description";

  /** Loading a token costs this share of computing one, to the planner. */
  private static final double LOAD_WEIGHT = 0.1;

  private transient volatile PlanSummary lastPlan;

  public CakePrefill() {
    this(Identifiable.randomUID("cake_prefill"));
  }

  public CakePrefill(String uid) {
    super(uid);
  }

  /** What the plan of the last {@link #transform} of this object expects; empty before. */
  public Optional<PlanSummary> lastPlan() {
    return Optional.ofNullable(lastPlan);
  }

  @Override
  public Dataset<Row> transform(Dataset<?> dataset) {
    // Everything that can be refused is, before any job.
    StructType schema = transformSchema(dataset.schema(), true /* log */);
    SparkSession spark = dataset.sparkSession();
    JavaSparkContext context = JavaSparkContext.fromSparkContext(spark.sparkContext());
    int column = dataset.schema().fieldIndex(value(CakeOptions.INPUT_COL));
    boolean text = dataset.schema().apply(column).dataType().equals(DataTypes.StringType);
    PrefillFacts facts = PrefillFacts.of(this, files(context.getConf()), text, cores(context));

    JavaRDD<Row> rows = dataset.toDF().toJavaRDD();
    List<List<long[]>> partitions = facts(context, rows, facts, column);
    int[] firstRows = firstRows(partitions);
    List<PromptFacts> prompts = prompts(partitions);
    CacheSnapshot snapshot = snapshot(facts, prompts);
    int tasks = value(CakeOptions.TASKS).intValue();
    PrefillPlan plan =
        new PrefillPlanner(facts.layout().chunkTokens(), LOAD_WEIGHT)
            .plan(
                prompts,
                snapshot.words(),
                tasks > 0 ? tasks : Math.max(1, context.defaultParallelism()));
    lastPlan = plan.summary();
    LOG.info("Plan: {}", plan.summary().describe());

    Places arrays = new Places(plan, firstRows);
    Broadcast<Places> places = context.broadcast(arrays);
    JavaRDD<Row> answers =
        // Not by zipWithIndex, which reads the input once more to count it.
        JavaPairRDD.fromJavaRDD(
                rows.mapPartitionsWithIndex(new Places.Keys(places), false /* partitioning */))
            .repartitionAndSortWithinPartitions(new Places.ByTask(arrays.tasks()))
            .mapPartitions(
                new PrefillTask(
                    facts, column, context.broadcast(snapshot), Meters.of(context.sc())));
    return spark.createDataFrame(answers, schema);
  }

  /** What {@link RowFacts} gives, by partition. */
  private static List<List<long[]>> facts(
      JavaSparkContext context, JavaRDD<Row> rows, PrefillFacts facts, int column) {
    String description = context.getLocalProperty(JOB_DESCRIPTION);
    context.setLocalProperty(JOB_DESCRIPTION, "cake: tokenize and count shared prefixes");
    try {
      int[] all = IntStream.range(0, rows.getNumPartitions()).toArray();
      return List.of(rows.mapPartitions(new RowFacts(facts, column)).collectPartitions(all));
    } finally {
      context.setLocalProperty(JOB_DESCRIPTION, description);
    }
  }

  private static List<PromptFacts> prompts(List<List<long[]>> partitions) {
    List<PromptFacts> prompts = new ArrayList<>();
    for (List<long[]> partition : partitions) {
      for (long[] row : partition) {
        long[] words = Arrays.copyOfRange(row, 1, row.length);
        prompts.add(new PromptFacts(words, Math.toIntExact(row[0])));
      }
    }
    return prompts;
  }

  private static int[] firstRows(List<List<long[]>> partitions) {
    int[] first = new int[partitions.size() + 1];
    for (int i = 0; i < partitions.size(); i++) {
      first[i + 1] = Math.addExact(first[i], partitions.get(i).size());
    }
    return first;
  }

  /** Cores of one executor; in local mode those of this machine. */
  private static int cores(JavaSparkContext context) {
    return context.isLocal()
        ? Runtime.getRuntime().availableProcessors()
        : context.getConf().getInt("spark.executor.cores", 1);
  }

  /** What is stored and somebody here asks for. */
  private static CacheSnapshot snapshot(PrefillFacts facts, List<PromptFacts> prompts) {
    if (!facts.cached()) {
      return CacheSnapshot.empty();
    }
    long[] words =
        prompts.stream()
            .flatMapToLong(p -> Arrays.stream(p.chunks()))
            .sorted()
            .distinct()
            .toArray();
    try (BundleStore store = facts.store()) {
      CacheSnapshot all = store.snapshot();
      CacheSnapshot asked = all.only(key -> Arrays.binarySearch(words, key.word()) >= 0);
      LOG.info(
          "Cache {}: {} chunks of this model, {} of them asked for",
          facts.cachePath(),
          all.size(),
          asked.size());
      if (!all.problems().isEmpty()) {
        LOG.warn(
            "{} bundles of the cache can't be used (cake verify says which are damaged, and deletes"
                + " those if asked to); the first: {}",
            all.problems().size(),
            all.problems().get(0));
      }
      return asked;
    }
  }

  private static HadoopFileStore files(SparkConf conf) {
    Map<String, String> settings = new TreeMap<>();
    for (Tuple2<String, String> pair : conf.getAllWithPrefix("spark.hadoop.")) {
      settings.put(pair._1(), pair._2());
    }
    return HadoopFileStore.of(settings.entrySet());
  }

  @Override
  public StructType transformSchema(StructType schema) {
    String input = value(CakeOptions.INPUT_COL);
    String output = value(CakeOptions.OUTPUT_COL);
    List<String> columns = Arrays.asList(schema.fieldNames());
    Check.input(
        columns.contains(input),
        "There is no column %s; the Dataset has %s. Set inputCol",
        input,
        String.join(", ", columns));
    DataType type = schema.apply(input).dataType();
    Check.input(
        type.equals(DataTypes.StringType)
            || type instanceof ArrayType array
                && (array.elementType().equals(DataTypes.IntegerType)
                    || array.elementType().equals(DataTypes.LongType)),
        "Column %s is %s; expected string, or array<int> or array<bigint> of token ids",
        input,
        type.simpleString());
    Check.input(
        !columns.contains(output),
        "There is a column %s already; set outputCol to another name",
        output);
    Check.input(
        !value(CakeOptions.MODEL_PATH).isBlank(),
        "modelPath is not set; name a Hugging Face model folder, such as hdfs:///models/mine");
    return schema.add(output, PrefillRows.SCHEMA, false);
  }

  @Override
  public CakePrefill copy(ParamMap extra) {
    return defaultCopy(extra);
  }

  public static MLReader<CakePrefill> read() {
    return new DefaultParamsReader<>();
  }

  public static CakePrefill load(String path) {
    return read().load(path);
  }
}

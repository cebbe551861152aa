package org.mixedgpu.hetermoe.spark;

import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.ml.Estimator;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.util.DefaultParamsReader;
import org.apache.spark.ml.util.DefaultParamsWritable;
import org.apache.spark.ml.util.Identifiable;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.StructType;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.spark.data.CorpusWriter;
import org.mixedgpu.hetermoe.spark.data.PackReport;
import org.mixedgpu.hetermoe.spark.gang.Gang;
import org.mixedgpu.hetermoe.spark.gang.GangSpec;
import org.mixedgpu.hetermoe.spark.gang.MemberSpec;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.checkpoint.ModelConfigs;
import org.mixedgpu.nn.checkpoint.SaveOptions;
import org.mixedgpu.nn.checkpoint.SavedShard;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Trains a Mixture-of-Experts language model on a cluster that mixes GPU generations: attention on
 * the newer GPUs, experts on the older ones. {@link #fit} tokenizes and packs the Dataset, runs the
 * gang, and gives a model whose folder transformers opens.
 */
public final class HeterMoe extends HeterMoeParams implements DefaultParamsWritable {
  private static final long serialVersionUID = 1L;
  private static final Logger LOG = LoggerFactory.getLogger(HeterMoe.class);

  public HeterMoe() {
    this(Identifiable.randomUID("hetermoe"));
  }

  public HeterMoe(String uid) {
    super(uid);
  }

  @Override
  public HeterMoeModel fit(Dataset<?> dataset) {
    // Everything that can be refused is, before any job.
    transformSchema(dataset.schema(), true /* log */);
    SparkSession spark = dataset.sparkSession();
    SparkConf conf = spark.sparkContext().getConf();
    int members = count(TrainOptions.ATTENTION_EXECUTORS) + count(TrainOptions.EXPERT_EXECUTORS);
    Deployment deployment =
        Deployment.of(
            conf,
            value(TrainOptions.BACKEND),
            value(TrainOptions.PRECISION),
            value(TrainOptions.THREADS),
            value(TrainOptions.TENSOR_BYTES),
            Deployment.isLocal(conf) ? members : 1);
    Map<String, String> settings = HeterMoeConf.checked(conf);
    FileStore store = deployment.store();
    // A uid names the estimator, not the run: fitting twice must not meet the first one's files.
    String run = FileStore.in(shardFolder(), Identifiable.randomUID("run"));
    String output =
        value(TrainOptions.OUTPUT).isBlank()
            ? FileStore.in(run, "model")
            : value(TrainOptions.OUTPUT);
    Check.input(
        store.list(output).isEmpty(), "Output folder %s is not empty; choose a new one", output);
    OptimizerConfig optimizer = RunFacts.optimizer(this);
    ModelSource source = ModelSource.of(value(TrainOptions.MODEL), store);
    ModelConfig config = RunFacts.model(this, ModelConfigs.parse(source.json(), source.name()));
    TrainingPlan plan = RunFacts.plan(this, config);
    // What can't be written must not be found out after the last step.
    ModelConfigs.toJson(config, SaveOptions.defaults().type());
    RunTokenizer tokenizer = RunTokenizer.of(this, source, deployment.store());
    Emulation emulation = Emulation.of(this, settings, store);

    PackReport packed = pack(dataset, deployment, config, tokenizer, run);
    LOG.info("Data: {}", packed.summary());
    LOG.info("Run: {}", summary(source, deployment, emulation));
    TrainTask task =
        new TrainTask(
            deployment,
            emulation,
            source,
            config.requireMoe().auxCoefficient(),
            config.requireMoe().zCoefficient(),
            RunFacts.auxLoss(this),
            optimizer,
            packed.corpus(),
            plan,
            value(TrainOptions.STEPS),
            value(TrainOptions.SEED),
            output,
            HeterMoeConf.EXCHANGE.read(settings),
            Duration.ofMillis(HeterMoeConf.EXCHANGE_TIMEOUT.read(settings)));
    TrainLog log = new TrainLog(task.steps());
    List<TrainTask.Outcome> outcomes =
        Gang.run(
            JavaSparkContext.fromSparkContext(spark.sparkContext()),
            gang(conf, settings, log),
            task);

    List<SavedShard> shards = outcomes.stream().flatMap(o -> o.shards().stream()).toList();
    TrainHistory.write(store, output, log.reports());
    tokenizer.save(output);
    Checkpoint.finish(store, output, config, shards, SaveOptions.defaults());
    LOG.info("Model: {}", output);
    HeterMoeModel model = new HeterMoeModel(uid());
    model.setModel(output);
    model.setTextCol(value(TrainOptions.TEXT_COL));
    model.setTokensCol(value(TrainOptions.TOKENS_COL));
    return model.setParent(this);
  }

  private String shardFolder() {
    String workDir = value(TrainOptions.WORK_DIR);
    String output = value(TrainOptions.OUTPUT);
    Check.input(
        !workDir.isBlank() || !output.isBlank(),
        "Neither workDir nor output is set; name a folder on a file system that driver and"
            + " executors share, such as hdfs:///tmp/hetermoe");
    return workDir.isBlank() ? output.replaceAll("/+$", "") + ".work" : workDir;
  }

  private int count(TrainOption<Long> option) {
    return Math.toIntExact(value(option));
  }

  private PackReport pack(
      Dataset<?> dataset,
      Deployment deployment,
      ModelConfig config,
      RunTokenizer tokenizer,
      String folder) {
    String tokens = value(TrainOptions.TOKENS_COL);
    CorpusWriter writer =
        new CorpusWriter(
            deployment.store(),
            FileStore.in(folder, "tokens"),
            tokenizer.encoder(),
            config.vocab(),
            tokenizer.end(config),
            count(TrainOptions.SEQUENCE_LENGTH));
    return writer.write(dataset.toDF(), tokens.isEmpty() ? value(TrainOptions.TEXT_COL) : tokens);
  }

  private GangSpec gang(SparkConf conf, Map<String, String> settings, TrainLog log) {
    int cores = conf.getInt("spark.executor.cores", 1);
    long heap = RunFacts.mib(conf.get("spark.executor.memory", "1g"));
    long overhead =
        conf.contains("spark.executor.memoryOverhead")
            ? RunFacts.mib(conf.get("spark.executor.memoryOverhead"))
            : Math.max(384, heap / 10);
    return GangSpec.of(
            "train " + uid(),
            new MemberSpec(
                count(TrainOptions.ATTENTION_EXECUTORS),
                value(TrainOptions.ATTENTION_RESOURCE),
                cores,
                heap,
                overhead),
            new MemberSpec(
                count(TrainOptions.EXPERT_EXECUTORS),
                value(TrainOptions.EXPERT_RESOURCE),
                cores,
                heap,
                overhead))
        .withRegistrationTimeout(
            Duration.ofMillis(HeterMoeConf.REGISTRATION_TIMEOUT.read(settings)))
        .withSilenceTimeout(Duration.ofMillis(HeterMoeConf.SILENCE_TIMEOUT.read(settings)))
        .withExchange(
            new ExchangeLimits(
                HeterMoeConf.EXCHANGE_QUEUE.read(settings) << 20,
                Duration.ofMillis(HeterMoeConf.EXCHANGE_TIMEOUT.read(settings))))
        .withListener(log);
  }

  private String summary(ModelSource source, Deployment deployment, Emulation emulation) {
    return String.format(
        Locale.ROOT,
        "%s, %d attention + %d expert members, %d sequences of %d tokens per step in %d"
            + " micro-batches, %d steps, backend %s%s",
        source.name(),
        value(TrainOptions.ATTENTION_EXECUTORS),
        value(TrainOptions.EXPERT_EXECUTORS),
        value(TrainOptions.BATCH_SIZE),
        value(TrainOptions.SEQUENCE_LENGTH),
        value(TrainOptions.MICRO_BATCHES),
        value(TrainOptions.STEPS),
        deployment.backend().summary(),
        emulation.summary());
  }

  @Override
  public StructType transformSchema(StructType schema) {
    HeterMoeModel.checkColumn(schema, value(TrainOptions.TEXT_COL), value(TrainOptions.TOKENS_COL));
    return schema.add("score", RowScores.SCHEMA);
  }

  @Override
  public Estimator<HeterMoeModel> copy(ParamMap extra) {
    return defaultCopy(extra);
  }

  public static MLReader<HeterMoe> read() {
    return new DefaultParamsReader<>();
  }

  public static HeterMoe load(String path) {
    return read().load(path);
  }
}

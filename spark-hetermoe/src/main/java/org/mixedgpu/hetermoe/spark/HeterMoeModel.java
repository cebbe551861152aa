package org.mixedgpu.hetermoe.spark;

import java.util.Arrays;
import org.apache.spark.SparkConf;
import org.apache.spark.ml.Model;
import org.apache.spark.ml.param.LongParam;
import org.apache.spark.ml.param.Param;
import org.apache.spark.ml.param.ParamMap;
import org.apache.spark.ml.util.Identifiable;
import org.apache.spark.ml.util.MLReader;
import org.apache.spark.ml.util.MLWritable;
import org.apache.spark.ml.util.MLWriter;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.apache.spark.sql.types.ArrayType;
import org.apache.spark.sql.types.DataType;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.checkpoint.Checkpoint;

/**
 * A trained model: a Hugging Face folder and how to read rows. As a Transformer it adds a struct
 * per row: {@code meanLogLikelihood} (of all tokens but the first, natural logarithm), {@code
 * perplexity}, {@code tokens} (that were predicted), {@code status} ({@code OK} or the kind of
 * fault) and {@code error}. A row without a text is a status, not a failed job.
 *
 * <p>Saved, it is a folder with its params and a copy of the model folder.
 */
public final class HeterMoeModel extends Model<HeterMoeModel> implements MLWritable {
  private static final long serialVersionUID = 1L;

  private final String uid;
  private final Param<String> model;
  private final Param<String> tokenizer;
  private final Param<String> textCol;
  private final Param<String> tokensCol;
  private final Param<String> outputCol;
  private final Param<String> backend;
  private final Param<String> precision;
  private final LongParam threads;

  public HeterMoeModel() {
    this(Identifiable.randomUID("hetermoe_model"));
  }

  public HeterMoeModel(String uid) {
    this.uid = uid;
    model = new Param<>(uid, "model", "Model folder: config.json, safetensors, tokenizer.json.");
    tokenizer =
        new Param<>(
            uid, "tokenizer", "Tokenizer: 'byte' or a folder; empty means the model folder's.");
    textCol = new Param<>(uid, "textCol", "Column of text to score.");
    tokensCol = new Param<>(uid, "tokensCol", "Column of token ids, used instead where given.");
    outputCol = new Param<>(uid, "outputCol", "Name of the struct column that is added.");
    backend =
        new Param<>(
            uid, "backend", "What scores rows: cpu or cuda, the GPU given to the task if any.");
    precision =
        new Param<>(uid, "precision", "Type that is computed in: auto, bf16, fp16 or fp32.");
    threads =
        new LongParam(
            uid, "threads", "Compute threads of the CPU backend; 0 means the executor's cores.");
    setDefault(backend, "cpu");
    setDefault(precision, "auto");
    setDefault(threads, 0L);
    setDefault(model, "");
    setDefault(tokenizer, "");
    setDefault(textCol, "text");
    setDefault(tokensCol, "");
    setDefault(outputCol, "score");
  }

  @Override
  public String uid() {
    return uid;
  }

  public Param<String> model() {
    return model;
  }

  public HeterMoeModel setModel(String value) {
    return with(model, value);
  }

  public Param<String> tokenizer() {
    return tokenizer;
  }

  public HeterMoeModel setTokenizer(String value) {
    return with(tokenizer, value);
  }

  public Param<String> textCol() {
    return textCol;
  }

  public HeterMoeModel setTextCol(String value) {
    return with(textCol, value);
  }

  public Param<String> tokensCol() {
    return tokensCol;
  }

  public HeterMoeModel setTokensCol(String value) {
    return with(tokensCol, value);
  }

  public Param<String> outputCol() {
    return outputCol;
  }

  public HeterMoeModel setOutputCol(String value) {
    return with(outputCol, value);
  }

  public Param<String> backend() {
    return backend;
  }

  public HeterMoeModel setBackend(String value) {
    return with(backend, value);
  }

  public Param<String> precision() {
    return precision;
  }

  public HeterMoeModel setPrecision(String value) {
    return with(precision, value);
  }

  public LongParam threads() {
    return threads;
  }

  public HeterMoeModel setThreads(long value) {
    set(threads, (Object) value);
    return this;
  }

  private HeterMoeModel with(Param<String> param, String value) {
    set(param, value);
    return this;
  }

  private String value(Param<String> param) {
    return (String) getOrDefault(param);
  }

  /** The model's folder. */
  public String folder() {
    return value(model);
  }

  /** One row per training step, oldest first; empty for a model that was not trained here. */
  public Dataset<Row> history() {
    SparkSession spark = SparkSession.active();
    return TrainHistory.read(spark, HadoopSettings.store(spark.sparkContext().getConf()), folder());
  }

  @Override
  public Dataset<Row> transform(Dataset<?> dataset) {
    transformSchema(dataset.schema(), true /* log */);
    SparkConf conf = dataset.sparkSession().sparkContext().getConf();
    Deployment deployment =
        Deployment.of(conf, value(backend), value(precision), (Long) getOrDefault(threads), 0, 1);
    String tokens = value(tokensCol);
    String column = tokens.isEmpty() ? value(textCol) : tokens;
    HadoopFileStore store = deployment.store();
    int vocabulary = Checkpoint.config(store, folder()).vocab();
    RowScores scores =
        new RowScores(
            folder(),
            RunTokenizer.encoder(tokens.isEmpty() ? tokenizerName(store) : "", store),
            vocabulary,
            deployment);
    // Not deterministic by declaration only: Spark would otherwise score a row once per field used.
    return dataset
        .toDF()
        .withColumn(
            value(outputCol),
            functions
                .udf(scores, RowScores.SCHEMA)
                .asNondeterministic()
                .apply(dataset.toDF().col(column)));
  }

  private String tokenizerName(FileStore store) {
    String name = value(tokenizer);
    if (!name.isEmpty()) {
      return name;
    }
    return RunTokenizer.ofFolder(folder(), true, store);
  }

  @Override
  public StructType transformSchema(StructType schema) {
    String tokens = value(tokensCol);
    checkColumn(schema, value(textCol), tokens);
    Check.input(
        !Arrays.asList(schema.fieldNames()).contains(value(outputCol)),
        "There is a column %s already; set outputCol to another name",
        value(outputCol));
    return schema.add(value(outputCol), RowScores.SCHEMA);
  }

  /** That the column to read exists and holds text or token ids. */
  static void checkColumn(StructType schema, String textCol, String tokensCol) {
    String name = tokensCol.isEmpty() ? textCol : tokensCol;
    DataType wanted =
        tokensCol.isEmpty()
            ? DataTypes.StringType
            : DataTypes.createArrayType(DataTypes.IntegerType);
    Check.input(
        Arrays.asList(schema.fieldNames()).contains(name),
        "There is no column %s; the Dataset has %s. Set %s",
        name,
        String.join(", ", schema.fieldNames()),
        tokensCol.isEmpty() ? "textCol" : "tokensCol");
    DataType found = schema.apply(name).dataType();
    boolean fits =
        tokensCol.isEmpty()
            ? found.equals(wanted)
            : found instanceof ArrayType array && array.elementType().equals(DataTypes.IntegerType);
    Check.input(
        fits, "Column %s is %s; expected %s", name, found.simpleString(), wanted.simpleString());
  }

  @Override
  public HeterMoeModel copy(ParamMap extra) {
    HeterMoeModel copy = new HeterMoeModel(uid);
    copyValues(copy, extra);
    return parent() == null ? copy : copy.setParent(parent());
  }

  @Override
  public MLWriter write() {
    return new ModelPersistence.Writer(this);
  }

  public static MLReader<HeterMoeModel> read() {
    return new ModelPersistence.Reader();
  }

  public static HeterMoeModel load(String path) {
    return read().load(path);
  }
}

package org.mixedgpu.cake.quickstart.spark;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Encoders;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;
import org.mixedgpu.cake.spark.CakePrefill;
import org.mixedgpu.hetermoe.spark.HeterMoe;
import org.mixedgpu.hetermoe.spark.HeterMoeModel;

/** One Spark application that trains and then prefills. */
public final class ClusterRun implements AutoCloseable {
  private final SparkSession spark;

  /** One training step. */
  public record Step(
      long step, double loss, double tokensPerSecond, double attentionBusy, double expertBusy) {}

  /**
   * A training run.
   *
   * @param folder of the model
   * @param perplexity per byte, of text that was not trained on
   */
  public record Training(String folder, List<Step> steps, double perplexity) {}

  /** One prompt's prefill. */
  public record Prefilled(
      int id,
      int tokens,
      int computed,
      int loaded,
      int reused,
      double ttftMillis,
      String next,
      String status) {}

  /** Starts the application with these settings. */
  public ClusterRun(Map<String, String> settings) {
    SparkConf conf = new SparkConf(false);
    settings.forEach(conf::set);
    spark = SparkSession.builder().config(conf).getOrCreate();
  }

  /**
   * Trains on a file of one document per line.
   *
   * @param heldOut texts to measure the result with
   */
  public Training train(HeterMoe estimator, String path, List<String> heldOut) {
    HeterMoeModel model = estimator.fit(spark.read().text(path).toDF("text"));
    List<Step> steps = new ArrayList<>();
    for (Row row : model.history().collectAsList()) {
      steps.add(
          new Step(
              row.getAs("step"),
              row.getAs("loss"),
              row.getAs("tokensPerSecond"),
              row.getAs("attentionBusyShare"),
              row.getAs("expertBusyShare")));
    }
    Dataset<Row> scores =
        model.transform(
            spark.createDataset(heldOut, Encoders.STRING()).toDF("text").repartition(2));
    double meanLoss =
        -scores
            .selectExpr("sum(score.meanLogLikelihood * score.tokens) / sum(score.tokens)")
            .first()
            .getDouble(0);
    return new Training(model.folder(), steps, Math.exp(meanLoss));
  }

  /** Prefills prompts in their order; ids are their positions. */
  public List<Prefilled> prefill(CakePrefill prefill, List<String> prompts) {
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < prompts.size(); i++) {
      rows.add(RowFactory.create(i, prompts.get(i)));
    }
    StructType schema =
        new StructType().add("id", DataTypes.IntegerType).add("prompt", DataTypes.StringType);
    Dataset<Row> done = prefill.transform(spark.createDataFrame(rows, schema));
    List<Prefilled> results = new ArrayList<>();
    for (Row row : done.select("id", "prefill.*").orderBy("id").collectAsList()) {
      results.add(
          new Prefilled(
              row.getAs("id"),
              row.getAs("tokens"),
              row.getAs("computedTokens"),
              row.getAs("loadedTokens"),
              row.getAs("reusedTokens"),
              row.getAs("ttftMs"),
              row.getAs("token"),
              row.getAs("status")));
    }
    return results;
  }

  @Override
  public void close() {
    spark.stop();
  }
}

package org.mixedgpu.hetermoe.spark;

import java.io.PrintStream;
import java.util.Locale;
import java.util.Map;
import org.apache.spark.SparkConf;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.functions;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** What the command line does, as functions: each opens a session, does one thing and ends it. */
public final class Jobs {
  private Jobs() {}

  /**
   * Rows to read.
   *
   * @param path file or folder on any Hadoop file system
   * @param format {@code text} (a document per line), or a format of Spark's with named columns
   */
  public record Input(String path, String format) {}

  /** Trains with these options, by name, and says where the model lies. */
  public static void train(
      Map<TrainOption<?>, String> options, Input input, Map<String, String> conf, PrintStream out) {
    HeterMoe estimator = new HeterMoe();
    options.forEach(estimator::set);
    SparkSession spark = session("hetermoe train", conf);
    try {
      HeterMoeModel model =
          estimator.fit(read(spark, input, estimator.value(TrainOptions.TEXT_COL)));
      Row last = model.history().orderBy(functions.col("step").desc()).first();
      out.printf(
          Locale.ROOT,
          "Trained %d steps, last loss %.4f. Model: %s%n",
          last.<Long>getAs("step"),
          last.<Double>getAs("loss"),
          model.folder());
    } finally {
      spark.stop();
    }
  }

  /**
   * Scores rows and prints their mean.
   *
   * @param output folder for the scored rows as JSON; null for none
   * @return whether at least one row could be scored
   */
  public static boolean evaluate(
      HeterMoeModel model, Input input, String output, Map<String, String> conf, PrintStream out) {
    SparkSession spark = session("hetermoe evaluate", conf);
    try {
      String textCol = (String) model.getOrDefault(model.textCol());
      Dataset<Row> scored = model.transform(read(spark, input, textCol)).cache();
      if (output != null) {
        scored.write().json(output);
      }
      Row sums =
          scored
              .agg(
                  functions.count("*"),
                  functions.sum(
                      functions.when(functions.expr("score.status = 'OK'"), 1).otherwise(0)),
                  functions.sum("score.tokens"),
                  functions.expr("sum(score.meanLogLikelihood * score.tokens)"))
              .first();
      long good = sums.getLong(1);
      out.printf(
          Locale.ROOT,
          "rows %d, scored %d, left out %d%n",
          sums.getLong(0),
          good,
          sums.getLong(0) - good);
      if (good > 0) {
        double mean = sums.getDouble(3) / sums.getLong(2);
        out.printf(
            Locale.ROOT,
            "tokens %d, mean log-likelihood %.6f, perplexity %.4f%n",
            sums.getLong(2),
            mean,
            Math.exp(-mean));
      }
      return good > 0;
    } finally {
      spark.stop();
    }
  }

  /** spark-submit brings the settings; without it this JVM is the cluster. */
  private static SparkSession session(String name, Map<String, String> settings) {
    SparkConf conf = new SparkConf();
    settings.forEach(conf::set);
    conf.setIfMissing("spark.master", "local[*]");
    conf.setIfMissing("spark.app.name", name);
    conf.setIfMissing("spark.plugins", "org.mixedgpu.hetermoe.spark.gang.GangPlugin");
    return SparkSession.builder().config(conf).getOrCreate();
  }

  private static Dataset<Row> read(SparkSession spark, Input input, String textCol) {
    Check.input(
        input.format().matches("text|json|parquet|orc|csv"),
        "Format '%s' is not known; use text, json, parquet, orc or csv",
        input.format());
    try {
      Dataset<Row> rows =
          spark
              .read()
              .format(input.format())
              .option("header", true /* only csv looks at it */)
              .load(input.path());
      return input.format().equals("text") ? rows.withColumnRenamed("value", textCol) : rows;
    } catch (Exception e) { // Spark's AnalysisException is checked, and Scala doesn't declare it
      throw new MixedGpuException(
          Fault.MISSING, "Cannot read " + input.path() + ": " + firstLine(e), e);
    }
  }

  private static String firstLine(Throwable e) {
    return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
  }
}

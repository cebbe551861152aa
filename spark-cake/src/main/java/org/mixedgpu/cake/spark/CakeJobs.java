package org.mixedgpu.cake.spark;

import java.io.PrintWriter;
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

/** What the command line does, as a function that opens a session, does one thing and ends it. */
public final class CakeJobs {
  private CakeJobs() {}

  /**
   * Rows to read or write.
   *
   * @param path file or folder on any Hadoop file system
   * @param format {@code text} (a prompt per line), or a format of Spark's with named columns
   */
  public record Table(String path, String format) {}

  /**
   * Prefills a table, writes the answers and prints what it cost.
   *
   * @return whether at least one row, of at least one, was answered
   */
  public static boolean prefill(
      Map<CakeOption<?>, String> options,
      Table input,
      Table output,
      Map<String, String> conf,
      PrintWriter out) {
    Check.input(
        input.format().matches("text|json|parquet|orc|csv"),
        "Input format '%s' is not known; use text, json, parquet, orc or csv",
        input.format());
    Check.input(
        output.format().matches("json|parquet|orc"),
        "Output format '%s' is not known; use parquet, json or orc",
        output.format());
    CakePrefill prefill = new CakePrefill();
    options.forEach(prefill::set);
    SparkSession spark = session(conf);
    try {
      String outputCol = prefill.value(CakeOptions.OUTPUT_COL);
      Dataset<Row> rows = read(spark, input, prefill.value(CakeOptions.INPUT_COL));
      Dataset<Row> answers = prefill.transform(rows);
      answers.write().format(output.format()).save(output.path());
      // JSON leaves out what is null in all rows.
      Dataset<Row> written =
          spark.read().schema(answers.schema()).format(output.format()).load(output.path());
      Row sums = sums(written, outputCol);
      return report(sums, prefill, output, out);
    } finally {
      spark.stop();
      SharedModel.closeUnused();
    }
  }

  private static Row sums(Dataset<Row> answers, String column) {
    String c = "`" + column + "`.";
    return answers
        .agg(
            functions.count("*"),
            functions.expr("count_if(" + c + "status in ('OK', 'RECOMPUTED'))"),
            functions.expr("count_if(" + c + "status = 'RECOMPUTED')"),
            functions.expr("coalesce(sum(" + c + "computedTokens), 0L)"),
            functions.expr("coalesce(sum(" + c + "loadedTokens), 0L)"),
            functions.expr("coalesce(sum(" + c + "reusedTokens), 0L)"),
            functions.expr("coalesce(median(" + c + "ttftMs), 0d)"))
        .first();
  }

  private static boolean report(Row sums, CakePrefill prefill, Table output, PrintWriter out) {
    long rows = sums.getLong(0);
    long answered = sums.getLong(1);
    out.printf(
        Locale.ROOT,
        "rows %d, answered %d, bad %d, answered although stored chunks were damaged or missing %d%n",
        rows,
        answered,
        rows - answered,
        sums.getLong(2));
    prefill
        .lastPlan()
        .ifPresent(
            plan -> out.println(plan.achieved(sums.getLong(3), sums.getLong(4), sums.getLong(5))));
    out.printf(
        Locale.ROOT,
        "time to first token, median: %.2f ms. Answers: %s%n",
        sums.getDouble(6),
        output.path());
    out.flush();
    return answered > 0 || rows == 0;
  }

  /** spark-submit brings the settings; without it this JVM is the cluster. */
  private static SparkSession session(Map<String, String> settings) {
    SparkConf conf = new SparkConf();
    settings.forEach(conf::set);
    conf.setIfMissing("spark.master", "local[*]");
    conf.setIfMissing("spark.app.name", "cake prefill");
    return SparkSession.builder().config(conf).getOrCreate();
  }

  private static Dataset<Row> read(SparkSession spark, Table input, String promptCol) {
    try {
      Dataset<Row> rows =
          spark
              .read()
              .format(input.format())
              .option("header", true /* only csv looks at it */)
              .load(input.path());
      return input.format().equals("text") ? rows.withColumnRenamed("value", promptCol) : rows;
    } catch (Exception e) { // Spark's AnalysisException is checked, and Scala doesn't declare it
      throw new MixedGpuException(
          Fault.MISSING, "Cannot read " + input.path() + ": " + firstLine(e), e);
    }
  }

  private static String firstLine(Throwable e) {
    return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
  }
}

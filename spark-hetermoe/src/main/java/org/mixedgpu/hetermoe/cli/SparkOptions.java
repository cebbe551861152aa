package org.mixedgpu.hetermoe.cli;

import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.hetermoe.spark.Jobs;
import picocli.CommandLine.Option;

/** Options that every command with a Spark session has. */
final class SparkOptions {
  @Option(
      names = "--input",
      required = true,
      paramLabel = "PATH",
      description = "Rows to read, on any Hadoop file system. Example: hdfs:///data/pages.parquet")
  private String input;

  @Option(
      names = "--format",
      defaultValue = "text",
      paramLabel = "NAME",
      description =
          "text (one document per line), json, parquet, orc or csv. Default: ${DEFAULT-VALUE}."
              + " Example: parquet")
  private String format;

  @Option(
      names = "--conf",
      paramLabel = "KEY=VALUE",
      description =
          "A Spark setting; may be repeated. Example: --conf spark.hetermoe.exchange=network."
              + " Without spark-submit the master is local[*] unless set here.")
  private Map<String, String> conf = new LinkedHashMap<>();

  Jobs.Input input() {
    return new Jobs.Input(input, format);
  }

  Map<String, String> conf() {
    return conf;
  }
}

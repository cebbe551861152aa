package org.mixedgpu.cake.cli;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.cake.spark.CakeJobs;
import org.mixedgpu.cake.spark.CakeOption;
import org.mixedgpu.cake.spark.CakeOptions;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Prefills a table. Its options are those of the Transformer, in another spelling. */
@Command(
    name = "prefill",
    mixinStandardHelpOptions = true,
    versionProvider = Cake.Version.class,
    sortOptions = false,
    description = {
      "Prefills every prompt of a table and writes the table with the answers: next token, its"
          + " likeliest alternatives, scores of labels, what it cost, and a status per row."
    },
    footer = {
      "",
      "Example:",
      "  cake prefill --input prompts.jsonl --format json --model-path /tmp/model \\",
      "    --cache-path /tmp/kv --labels 'yes|no' --output /tmp/answers"
    })
final class PrefillCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--input",
      required = true,
      paramLabel = "PATH",
      description =
          "Rows to read, on any Hadoop file system. Example: hdfs:///data/prompts.parquet")
  private String input;

  @Option(
      names = "--format",
      defaultValue = "text",
      paramLabel = "NAME",
      description =
          "Of the input: text (one prompt per line, as column --input-col), json, parquet, orc or"
              + " csv. Default: ${DEFAULT-VALUE}. Example: parquet")
  private String format;

  @Option(
      names = "--output",
      required = true,
      paramLabel = "DIR",
      description = "New folder for the answers. Example: hdfs:///data/answers")
  private String output;

  @Option(
      names = "--output-format",
      defaultValue = "parquet",
      paramLabel = "NAME",
      description = "parquet, json or orc. Default: ${DEFAULT-VALUE}. Example: json")
  private String outputFormat;

  @Option(
      names = "--conf",
      paramLabel = "KEY=VALUE",
      description =
          "A Spark setting; may be repeated. Without spark-submit the master is local[*] unless set"
              + " here. Example: --conf spark.master=local[4]")
  private Map<String, String> conf = new LinkedHashMap<>();

  static CommandLine commandLine() {
    CommandLine line = new CommandLine(new PrefillCommand());
    for (CakeOption<?> option : CakeOptions.ALL) {
      String byDefault = String.valueOf(option.byDefault());
      line.getCommandSpec()
          .addOption(
              OptionSpec.builder(option.flag())
                  .type(String.class)
                  .required(option == CakeOptions.MODEL_PATH)
                  .paramLabel(option.entry().unit().isEmpty() ? "VALUE" : "N")
                  .description(
                      // picocli reads % as a format
                      option.help().replace("%", "%%")
                          + (byDefault.isEmpty() ? "" : " Default: " + byDefault + "."))
                  .build());
    }
    return line;
  }

  @Override
  public Integer call() {
    CommandLine.ParseResult parsed = spec.commandLine().getParseResult();
    Map<CakeOption<?>, String> options = new LinkedHashMap<>();
    for (CakeOption<?> option : CakeOptions.ALL) {
      String text = parsed.matchedOptionValue(option.flag(), (String) null);
      if (text != null) {
        checkValue(option, text);
        options.put(option, text);
      }
    }
    boolean answered =
        CakeJobs.prefill(
            options,
            new CakeJobs.Table(input, format),
            new CakeJobs.Table(output, outputFormat),
            conf,
            spec.commandLine().getOut());
    return answered ? CommandLine.ExitCode.OK : CommandLine.ExitCode.SOFTWARE;
  }

  /** A value out of range is a mistake in the command, not a failure of the work. */
  private void checkValue(CakeOption<?> option, String text) {
    try {
      option.entry().value(text);
    } catch (MixedGpuException e) {
      throw new CommandLine.ParameterException(
          spec.commandLine(), option.flag() + ": " + e.getMessage(), e);
    }
  }
}

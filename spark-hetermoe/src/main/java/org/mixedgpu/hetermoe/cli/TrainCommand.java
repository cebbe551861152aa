package org.mixedgpu.hetermoe.cli;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.spark.Jobs;
import org.mixedgpu.hetermoe.spark.TrainOption;
import org.mixedgpu.hetermoe.spark.TrainOptions;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Spec;

/** Trains a model. Its options are those of the Estimator, in another spelling. */
@Command(
    name = "train",
    mixinStandardHelpOptions = true,
    versionProvider = HeterMoeCli.Version.class,
    sortOptions = false,
    description = "Trains a Mixture-of-Experts model on text and writes a Hugging Face folder.",
    footer = {
      "",
      "Example:",
      "  hetermoe train --input corpus.txt --model tiny-mixtral --steps 200 \\",
      "    --sequence-length 256 --work-dir /tmp/work --output /tmp/model"
    })
final class TrainCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;
  @Mixin private SparkOptions spark;

  static CommandLine commandLine() {
    CommandLine line = new CommandLine(new TrainCommand());
    for (TrainOption<?> option : TrainOptions.ALL) {
      String byDefault = String.valueOf(option.byDefault());
      line.getCommandSpec()
          .addOption(
              OptionSpec.builder(option.flag())
                  .type(String.class)
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
    Map<TrainOption<?>, String> options = new LinkedHashMap<>();
    for (TrainOption<?> option : TrainOptions.ALL) {
      String text = parsed.matchedOptionValue(option.flag(), (String) null);
      if (text != null) {
        checkValue(option, text);
        options.put(option, text);
      }
    }
    Jobs.train(options, spark.input(), spark.conf(), System.out);
    return CommandLine.ExitCode.OK;
  }

  /** A value out of range is a mistake in the command, not a failure of the work. */
  private void checkValue(TrainOption<?> option, String text) {
    try {
      option.entry().value(text);
    } catch (MixedGpuException e) {
      throw new CommandLine.ParameterException(
          spec.commandLine(), option.flag() + ": " + e.getMessage(), e);
    }
  }
}

package org.mixedgpu.hetermoe.cli;

import java.util.concurrent.Callable;
import org.mixedgpu.hetermoe.spark.HeterMoeModel;
import org.mixedgpu.hetermoe.spark.Jobs;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** Scores a table of texts with a model. */
@Command(
    name = "evaluate",
    mixinStandardHelpOptions = true,
    versionProvider = HeterMoeCli.Version.class,
    sortOptions = false,
    description = {
      "Prints how well a model predicts texts: mean log-likelihood per token (natural logarithm)"
          + " and perplexity, over all rows that can be scored."
    },
    footer = {"", "Example:", "  hetermoe evaluate --model /tmp/model --input held-out.txt"})
final class EvaluateCommand implements Callable<Integer> {
  @Mixin private SparkOptions spark;

  @Option(
      names = "--model",
      required = true,
      paramLabel = "DIR",
      description = "Hugging Face model folder. Example: hdfs:///models/mine")
  private String model;

  @Option(
      names = "--tokenizer",
      defaultValue = "",
      paramLabel = "NAME",
      description = "'byte' or a folder; default: the model folder's. Example: byte")
  private String tokenizer;

  @Option(
      names = "--text-col",
      defaultValue = "text",
      paramLabel = "COLUMN",
      description = "Column of text. Default: ${DEFAULT-VALUE}. Example: body")
  private String textCol;

  @Option(
      names = "--tokens-col",
      defaultValue = "",
      paramLabel = "COLUMN",
      description = "Column of token ids, used instead of text where given. Example: ids")
  private String tokensCol;

  @Option(
      names = "--backend",
      defaultValue = "cpu",
      paramLabel = "NAME",
      description = "What scores: cpu or cuda. Default: ${DEFAULT-VALUE}. Example: cuda")
  private String backend;

  @Option(
      names = "--precision",
      defaultValue = "auto",
      paramLabel = "NAME",
      description =
          "Type that is computed in: auto, bf16, fp16 or fp32. Default: ${DEFAULT-VALUE}. Example:"
              + " fp32")
  private String precision;

  @Option(
      names = "--output",
      paramLabel = "DIR",
      description = "New folder for the scored rows as JSON. Example: /tmp/scores")
  private String output;

  @Override
  public Integer call() {
    HeterMoeModel transformer =
        new HeterMoeModel()
            .setModel(model)
            .setTokenizer(tokenizer)
            .setTextCol(textCol)
            .setTokensCol(tokensCol)
            .setBackend(backend)
            .setPrecision(precision);
    boolean scored = Jobs.evaluate(transformer, spark.input(), output, spark.conf(), System.out);
    return scored ? CommandLine.ExitCode.OK : CommandLine.ExitCode.SOFTWARE;
  }
}

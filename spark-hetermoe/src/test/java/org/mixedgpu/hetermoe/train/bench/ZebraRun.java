package org.mixedgpu.hetermoe.train.bench;

import java.util.Arrays;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.train.BatchSource;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.ZebraJob;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.bench.BenchModels;

/**
 * Some training steps of one attention and one expert rank.
 *
 * @param model D1, W1 or small
 * @param emulated whether the expert's device is as slow as an older generation
 */
record ZebraRun(
    String model, int sequences, int tokens, int microBatches, int steps, boolean emulated) {

  /** The inverse of {@link #toString}. */
  static ZebraRun parse(String text) {
    String[] words = text.split(" ");
    return new ZebraRun(
        words[0],
        Integer.parseInt(words[1]),
        Integer.parseInt(words[2]),
        Integer.parseInt(words[3]),
        Integer.parseInt(words[4]),
        Boolean.parseBoolean(words[5]));
  }

  @Override
  public String toString() {
    return String.join(
        " ", model, "" + sequences, "" + tokens, "" + microBatches, "" + steps, "" + emulated);
  }

  /** For tables. */
  String name() {
    return String.format(
        "%s %dx%d, R %d%s",
        model, sequences, tokens, microBatches, emulated ? ", experts emulated" : "");
  }

  /** One of its micro-batches alone. */
  ZebraRun oneMicroBatch() {
    return new ZebraRun(model, sequences / microBatches, tokens, 1, steps, emulated);
  }

  ZebraRun emulate() {
    return new ZebraRun(model, sequences, tokens, microBatches, steps, true);
  }

  ZebraRun withSteps(int count) {
    return new ZebraRun(model, sequences, tokens, microBatches, count, emulated);
  }

  ModelConfig config() {
    return switch (model) {
      case "D1" -> BenchModels.mixtral(8, 1024, 24);
      case "W1" -> BenchModels.mixtral(4, 2048, 12);
      case "small" -> BenchModels.mixtral(2, 128, 4);
      default -> throw new IllegalArgumentException("D1, W1 or small; found " + model);
    };
  }

  static OptimizerConfig adamW() {
    return new OptimizerConfig(LearningRate.constant(1e-4), 0.9f, 0.95f, 1e-8f, 0.1f, 0);
  }

  ZebraJob job() {
    ModelConfig config = config();
    TrainingPlan plan =
        TrainingPlan.even(ZebraJob.expertsByLayer(config), 1, 1, microBatches, sequences, tokens);
    return new ZebraJob(config, plan, adamW(), AuxLoss.Kind.HUGGING_FACE, steps, true);
  }

  /** The same random tokens in every step. */
  int[][] ids() {
    int[][] ids = new int[sequences][];
    Arrays.setAll(ids, i -> BenchModels.tokens(tokens, config().vocab(), i));
    return ids;
  }

  BatchSource batches() {
    int[][] ids = ids();
    return (step, first, count) -> Arrays.copyOfRange(ids, first, first + count);
  }

  /**
   * Operations of attention ranks by those of expert ranks, forward and backward: what to balance
   * the sides by. Attention makes of each token 4 projections, causal products with half of all
   * others, and the head's logits; experts make 3 products with each of a token's experts.
   */
  double operationsRatio() {
    ModelConfig c = config();
    double hidden = c.hidden();
    double layer = 4 * 2 * hidden * hidden * 3 + 2 * tokens * hidden * 3.5;
    double head = 2 * hidden * c.vocab() * 3;
    double experts = 3 * 2 * hidden * c.requireMoe().intermediate() * c.requireMoe().topK() * 3;
    return (c.layers() * layer + head) / (c.layers() * experts);
  }
}

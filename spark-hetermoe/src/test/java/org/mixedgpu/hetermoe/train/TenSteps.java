package org.mixedgpu.hetermoe.train;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.spark.DefaultRun;
import org.mixedgpu.hetermoe.spark.data.CorpusBatches;
import org.mixedgpu.hetermoe.spark.data.DictionaryCorpus;
import org.mixedgpu.io.MemoryFileStore;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.bench.BenchModels;

/**
 * The first ten steps of a run, to compare backends by.
 *
 * @param batches of each step
 * @param seed of weights and batches
 */
record TenSteps(
    String name, ModelConfig model, TrainerConfig settings, List<int[][]> batches, long seed) {
  static final int STEPS = 10;

  static TenSteps named(String name, long seed) {
    return switch (name) {
      case "defaults" -> defaults(seed);
      case "dense" -> hard(name, BenchModels.llama(2048, 256, 4, 4, 2, 768, 1024), seed);
      case "experts" ->
          hard(name, BenchModels.mixtral(3, 256, 8).withLossCoefficients(0.01f, 0), seed);
      default -> throw new IllegalArgumentException("No setting is called " + name);
    };
  }

  /** What users run who set nothing: the default model and options, on dictionary text. */
  private static TenSteps defaults(long seed) {
    MemoryFileStore store = new MemoryFileStore();
    DefaultRun run = DefaultRun.of(store);
    int batch = run.settings().batch();
    List<int[][]> batches = new ArrayList<>();
    try (CorpusBatches source =
        new CorpusBatches(
            store,
            DictionaryCorpus.write(store, run.model().vocab(), run.settings().sequence()),
            batch,
            seed)) {
      for (int step = 1; step <= STEPS; step++) {
        batches.add(source.sequences(step, 0, batch));
      }
    }
    return new TenSteps("defaults", run.model(), run.settings(), batches, seed);
  }

  /** Few tokens, large steps from the first on, and rising numbers, which are soon learnt. */
  private static TenSteps hard(String name, ModelConfig model, long seed) {
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(1e-3));
    TrainerConfig settings = new TrainerConfig(4, 256, 1, adamW, AuxLoss.Kind.HUGGING_FACE);
    List<int[][]> batches = new ArrayList<>();
    for (int step = 0; step < STEPS; step++) {
      batches.add(rising(model.vocab(), settings, (seed - 1) * 1_000_003 + step * 100));
    }
    return new TenSteps(name, model, settings, batches, seed);
  }

  private static int[][] rising(int vocab, TrainerConfig settings, long seed) {
    int[][] batch = new int[settings.batch()][settings.sequence()];
    for (int i = 0; i < batch.length; i++) {
      int[] random = BenchModels.tokens(2, vocab, seed + i);
      int distance = 1 + random[1] % 3;
      Arrays.setAll(batch[i], t -> (random[0] + t * distance) % 512);
    }
    return batch;
  }

  /** The loss of each step. */
  double[] losses(TrainingBackend backend) {
    double[] losses = new double[STEPS];
    try (Parameters parameters = Parameters.allocate(backend, model, Part.all())) {
      parameters.initialize(seed);
      try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, settings)) {
        for (int step = 0; step < STEPS; step++) {
          losses[step] = trainer.step(batches.get(step)).loss();
        }
      }
    }
    return losses;
  }
}

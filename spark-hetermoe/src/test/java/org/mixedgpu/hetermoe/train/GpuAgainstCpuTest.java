package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.bench.BenchModels;
import org.mixedgpu.tensor.DType;

/**
 * Ten training steps on a GPU and on the CPU, from the same weights and batches: every loss must
 * agree. Needs a GPU; {@link GpuGoldenTest} has the command.
 */
@Tag("gpu")
class GpuAgainstCpuTest {
  private static final int STEPS = 10;
  private static final int BATCH = 4;
  private static final int SEQUENCE = 256;

  @ParameterizedTest
  @CsvSource({"dense, F32, 1e-5", "dense, BF16, 1e-3", "experts, F32, 1e-5", "experts, BF16, 1e-3"})
  void lossesOfTenStepsAgree(String model, DType type, double tolerance) {
    ModelConfig config =
        model.equals("dense")
            ? BenchModels.llama(2048, 256, 4, 4, 2, 768, 1024)
            : BenchModels.mixtral(3, 256, 8).withLossCoefficients(0.01f, 0);
    double[] cpu;
    try (TrainingBackend backend = Backends.cpu(CpuOptions.allCores())) {
      cpu = losses(backend, config);
    }
    double[] gpu;
    try (TrainingBackend backend = TestDevice.open(type)) {
      gpu = losses(backend, config);
    }
    double worst = 0;
    for (int step = 0; step < STEPS; step++) {
      worst = Math.max(worst, Math.abs(gpu[step] / cpu[step] - 1));
    }
    System.out.printf("%s in %s: losses differ by at most %.2e, relative%n", model, type, worst);
    assertThat(cpu[STEPS - 1]).as("the model must learn").isLessThan(cpu[0]);
    for (int step = 0; step < STEPS; step++) {
      assertThat(gpu[step])
          .as("loss of step %d", step)
          .isCloseTo(cpu[step], within(tolerance * cpu[step]));
    }
  }

  private static double[] losses(TrainingBackend backend, ModelConfig config) {
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(1e-3));
    TrainerConfig settings =
        new TrainerConfig(BATCH, SEQUENCE, 1, adamW, AuxLoss.Kind.HUGGING_FACE);
    double[] losses = new double[STEPS];
    try (Parameters parameters = Parameters.allocate(backend, config, Part.all())) {
      parameters.initialize(1);
      try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, settings)) {
        for (int step = 0; step < STEPS; step++) {
          losses[step] = trainer.step(batch(config, step)).loss();
        }
      }
    }
    return losses;
  }

  /** Rising numbers with a random step: something that can be learnt. */
  private static int[][] batch(ModelConfig config, int step) {
    int[][] batch = new int[BATCH][SEQUENCE];
    for (int i = 0; i < BATCH; i++) {
      int[] random = BenchModels.tokens(2, config.vocab(), step * 100L + i);
      int distance = 1 + random[1] % 3;
      Arrays.setAll(batch[i], t -> (random[0] + t * distance) % 512);
    }
    return batch;
  }
}

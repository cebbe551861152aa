package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.TinyModels;

class SingleProcessTrainerTest {
  private static final int BATCH = 4;
  private static final int SEQUENCE = 9;

  private TrainingBackend b;

  @BeforeEach
  void open() {
    b = Backends.cpu(CpuOptions.allCores());
  }

  @AfterEach
  void close() {
    b.close();
  }

  @Test
  void twoRunsHaveTheSameBits() {
    ModelConfig config = TinyModels.of(ModelFamily.QWEN2_MOE);
    float[][] one = weightsAfter(config, 3, 2).toArray(new float[0][]);
    float[][] other = weightsAfter(config, 3, 2).toArray(new float[0][]);
    assertThat(Arrays.deepEquals(one, other)).isTrue();
  }

  @Test
  void withoutBalancingLossSlicesChangeOnlyTheOrderOfSums() {
    ModelConfig config = TinyModels.of(ModelFamily.LLAMA);
    List<float[]> whole = weightsAfter(config, 2, 1);
    List<float[]> sliced = weightsAfter(config, 2, 4);
    double squares = 0;
    long count = 0;
    for (int i = 0; i < whole.size(); i++) {
      for (int j = 0; j < whole.get(i).length; j++) {
        squares += Math.pow(whole.get(i)[j] - sliced.get(i)[j], 2);
        count++;
      }
    }
    assertThat(Math.sqrt(squares / count)).isLessThan(1e-6);
  }

  private List<float[]> weightsAfter(ModelConfig config, int steps, int slices) {
    try (Parameters p = TinyModels.parameters(b, config, 3);
        SingleProcessTrainer trainer = trainer(p, slices)) {
      for (int step = 0; step < steps; step++) {
        trainer.step(batch(config, step));
      }
      List<float[]> weights = new ArrayList<>();
      for (Parameters.Entry entry : p.entries()) {
        weights.add(Floats.read(b, entry.tensor()));
      }
      return weights;
    }
  }

  private SingleProcessTrainer trainer(Parameters p, int slices) {
    return trainer(b, p, slices);
  }

  private static SingleProcessTrainer trainer(TrainingBackend backend, Parameters p, int slices) {
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(1e-2));
    return new SingleProcessTrainer(
        backend, p, new TrainerConfig(BATCH, SEQUENCE, slices, adamW, AuxLoss.Kind.HUGGING_FACE));
  }

  private static int[][] batch(ModelConfig config, int seed) {
    int[][] batch = new int[BATCH][];
    Arrays.setAll(batch, i -> TinyModels.tokens(SEQUENCE, config.vocab(), seed * 100L + i));
    return batch;
  }

  @Test
  void aBatchThatIsSeenAgainIsLearnt() {
    ModelConfig config = TinyModels.of(ModelFamily.MIXTRAL);
    try (Parameters p = TinyModels.parameters(b, config, 3);
        SingleProcessTrainer trainer = trainer(p, 2)) {
      int[][] batch = batch(config, 1);
      double first = trainer.step(batch).loss();
      StepReport last = null;
      for (int step = 0; step < 60; step++) {
        last = trainer.step(batch);
      }
      assertThat(last.loss()).isLessThan(0.3 * first);
      assertThat(last.step()).isEqualTo(61);
      assertThat(last.targets()).isEqualTo(BATCH * (SEQUENCE - 1));
      assertThat(last.tokens()).isEqualTo(BATCH * SEQUENCE);
      double evaluated = trainer.evaluate(batch, SingleProcessTrainer.nextTokens(batch));
      assertThat(evaluated).isCloseTo(trainer.step(batch).loss(), within(1e-6));
    }
  }

  @Test
  void paddingAfterTheTextChangesNothing() {
    ModelConfig config = TinyModels.of(ModelFamily.LLAMA);
    int[][] batch = batch(config, 1);
    int[][] other = batch(config, 1);
    for (int t = 5; t < SEQUENCE; t++) {
      batch[2][t] = -1;
    }
    int[][] targets = SingleProcessTrainer.nextTokens(batch);
    try (Parameters p = TinyModels.parameters(b, config, 3);
        SingleProcessTrainer trainer = trainer(p, 1)) {
      assertThat(trainer.evaluate(batch, targets)).isEqualTo(trainer.evaluate(other, targets));
    }
  }

  @Test
  void stepsAllocateNothing() {
    ModelConfig config = TinyModels.of(ModelFamily.QWEN2_MOE);
    try (Parameters p = TinyModels.parameters(b, config, 3);
        SingleProcessTrainer trainer = trainer(p, 2)) {
      trainer.step(batch(config, 0));
      long tensors = b.memoryUse().tensors();
      long peak = b.memoryUse().peakBytes();
      trainer.step(batch(config, 1));
      assertThat(b.memoryUse().tensors()).isEqualTo((int) tensors);
      assertThat(b.memoryUse().peakBytes()).isEqualTo(peak);
    }
  }

  /** Backends refuse to close while tensors are open, so closing is the check. */
  @Test
  void whereverMemoryEndsNothingIsLeftOpen() {
    ModelConfig config = TinyModels.of(ModelFamily.QWEN2_MOE);
    long needed;
    try (TrainingBackend ample = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Parameters p = TinyModels.parameters(ample, config, 3);
        SingleProcessTrainer trainer = trainer(ample, p, 2)) {
      needed = ample.memoryUse().bytes();
    }
    int refused = 0;
    for (long limit = needed / 3; limit < needed; limit += needed / 97) {
      try (TrainingBackend scarce = Backends.cpu(new CpuOptions(1, limit));
          Parameters p = TinyModels.parameters(scarce, config, 3)) {
        assertThatThrownBy(() -> trainer(scarce, p, 2))
            .isInstanceOfSatisfying(
                MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED));
        refused++;
      }
    }
    assertThat(refused).isGreaterThan(50);
  }

  @Test
  void batchesOfAnotherShapeAreRefused() {
    ModelConfig config = TinyModels.of(ModelFamily.LLAMA);
    try (Parameters p = TinyModels.parameters(b, config, 3);
        SingleProcessTrainer trainer = trainer(p, 1)) {
      assertThatThrownBy(() -> trainer.step(new int[3][SEQUENCE]))
          .hasMessageContaining("made for 4 sequences; found 3");
      int[][] batch = batch(config, 0);
      batch[1][2] = 61;
      assertThatThrownBy(() -> trainer.step(batch))
          .hasMessageContaining("sequence 1 is not in a vocabulary of 61");
    }
  }

  @Test
  void theLearningRateWarmsUpAndFallsToItsFloor() {
    LearningRate rate = LearningRate.cosine(2, 4, 12, 0.1);
    assertThat(rate.at(1)).isEqualTo(0.5);
    assertThat(rate.at(4)).isEqualTo(2);
    assertThat(rate.at(8)).isCloseTo(1.1, within(1e-12));
    assertThat(rate.at(12)).isCloseTo(0.2, within(1e-12));
    assertThat(rate.at(99)).isCloseTo(0.2, within(1e-12));
    assertThat(LearningRate.constant(3).at(1000)).isEqualTo(3);
  }
}

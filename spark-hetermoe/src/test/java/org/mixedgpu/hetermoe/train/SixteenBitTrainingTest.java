package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.Floats;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.tensor.DType;

/** One process that trains in BF16 or F16: close to F32, with weights that keep small updates. */
class SixteenBitTrainingTest {
  private static final int STEPS = 10;
  private static final int BATCH = 4;
  private static final int SEQUENCE = 12;

  private record Trained(List<StepReport> reports, Map<String, float[]> masters) {}

  private static TrainerConfig config() {
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(3e-3));
    return new TrainerConfig(BATCH, SEQUENCE, 2, adamW, AuxLoss.Kind.HUGGING_FACE);
  }

  private static Trained train(TrainingBackend backend, ModelConfig model) {
    List<StepReport> reports = new ArrayList<>();
    BatchSource batches = ZebraGang.tokens(SEQUENCE);
    try (backend;
        Parameters parameters = Parameters.allocate(backend, model, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config())) {
      parameters.initialize(5);
      for (int step = 1; step <= STEPS; step++) {
        reports.add(trainer.step(batches.sequences(step, 0, BATCH)));
      }
      return new Trained(reports, ZebraGang.snapshot(backend, parameters));
    }
  }

  private static TrainingBackend cpu() {
    return Backends.cpu(new CpuOptions(2, Long.MAX_VALUE));
  }

  @ParameterizedTest
  @EnumSource(names = {"BF16", "F16"})
  void losesLittleAgainstF32(DType type) {
    for (ModelConfig model :
        List.of(ZebraModels.mixtral(0.02f), ZebraModels.qwen2Moe(0.01f), ZebraModels.qwen3Moe(0))) {
      Trained exact = train(cpu(), model);
      Trained rounded = train(new RoundingBackend(type), model);
      for (int step = 0; step < STEPS; step++) {
        StepReport ours = rounded.reports.get(step);
        StepReport theirs = exact.reports.get(step);
        assertThat(ours.loss() / theirs.loss()).as("step %s", step).isCloseTo(1, within(0.02));
        assertThat(ours.gradientNorm() / theirs.gradientNorm()).isCloseTo(1, within(0.05));
        assertThat(ours.updated()).isTrue();
        assertThat(ours.lossScale()).isEqualTo(type == DType.F16 ? 65536 : 1);
      }
      assertThat(exact.reports.get(0).loss()).isNotEqualTo(rounded.reports.get(0).loss());
    }
  }

  @Test
  void withComputeTypeF32NothingIsRounded() {
    ModelConfig model = ZebraModels.qwen2Moe(0.01f);
    Trained exact = train(cpu(), model);
    Trained same = train(new RoundingBackend(DType.F32), model);
    exact.masters.forEach((name, values) -> assertThat(same.masters.get(name)).isEqualTo(values));
  }

  @Test
  void mastersKeepWhatTheWorkingCopiesCanNot() {
    ModelConfig model = ZebraModels.mixtral(0);
    OptimizerConfig slow = OptimizerConfig.standard(LearningRate.constant(1e-7));
    TrainerConfig config = new TrainerConfig(BATCH, SEQUENCE, 1, slow, AuxLoss.Kind.NONE);
    try (TrainingBackend backend = new RoundingBackend(DType.BF16);
        Parameters parameters = Parameters.allocate(backend, model, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config)) {
      parameters.initialize(5);
      Map<String, float[]> before = ZebraGang.snapshot(backend, parameters);
      trainer.step(ZebraGang.tokens(SEQUENCE).sequences(1, 0, BATCH));
      Map<String, float[]> after = ZebraGang.snapshot(backend, parameters);
      String name = "model.layers.0.self_attn.q_proj.weight";
      int moved = 0;
      for (int i = 0; i < before.get(name).length; i++) {
        moved += before.get(name)[i] != after.get(name)[i] ? 1 : 0;
      }
      assertThat(moved).isGreaterThan(before.get(name).length / 2);
      assertThat(parameters.tensor(name).type()).isEqualTo(DType.BF16);
      assertThat(parameters.master(name).type()).isEqualTo(DType.F32);
    }
  }

  /** BF16 has no number between 1 and 1.0078. */
  @Test
  void gainsOfNormsTakeStepsThatBf16CanNotHold() {
    ModelConfig model = ZebraModels.mixtral(0);
    OptimizerConfig usual = OptimizerConfig.standard(LearningRate.constant(3e-4));
    TrainerConfig config = new TrainerConfig(BATCH, SEQUENCE, 1, usual, AuxLoss.Kind.NONE);
    int[][] batch = ZebraGang.tokens(SEQUENCE).sequences(1, 0, BATCH);
    int[][] targets = SingleProcessTrainer.nextTokens(batch);
    try (TrainingBackend backend = new RoundingBackend(DType.BF16);
        Parameters parameters = Parameters.allocate(backend, model, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config)) {
      parameters.initialize(5);
      trainer.step(batch);
      double learnt = trainer.evaluate(batch, targets);
      for (Parameters.Entry entry : parameters.entries()) {
        if (entry.name().endsWith("norm.weight")) {
          assertThat(entry.tensor()).as(entry.name()).isSameAs(entry.master());
          for (float gain : Floats.read(backend, entry.tensor())) {
            assertThat(gain).as(entry.name()).isNotEqualTo(1f).isCloseTo(1f, within(1e-3f));
          }
          backend.fill(entry.tensor(), 1);
        }
      }
      assertThat(trainer.evaluate(batch, targets)).as("without the gains").isGreaterThan(learnt);
    }
  }

  @Test
  void aStepThatOverflowsChangesNoWeightAndHalvesTheScale() {
    ModelConfig model = ZebraModels.mixtral(0.02f);
    // Two slices per step: the second of step 3.
    TrainingBackend backend = new OverflowingBackend(DType.F16, 6);
    BatchSource batches = ZebraGang.tokens(SEQUENCE);
    try (backend;
        Parameters parameters = Parameters.allocate(backend, model, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config())) {
      parameters.initialize(5);
      trainer.step(batches.sequences(1, 0, BATCH));
      trainer.step(batches.sequences(2, 0, BATCH));
      Map<String, float[]> before = ZebraGang.snapshot(backend, parameters);
      StepReport skipped = trainer.step(batches.sequences(3, 0, BATCH));
      assertThat(skipped.updated()).isFalse();
      assertThat(skipped.lossScale()).isEqualTo(65536);
      assertThat(skipped.gradientNorm()).matches(norm -> !Double.isFinite(norm));
      assertThat(skipped.step()).isEqualTo(3);
      ZebraGang.snapshot(backend, parameters)
          .forEach((name, values) -> assertThat(values).isEqualTo(before.get(name)));
      StepReport next = trainer.step(batches.sequences(4, 0, BATCH));
      assertThat(next.updated()).isTrue();
      assertThat(next.lossScale()).isEqualTo(32768);
      assertThat(next.step()).isEqualTo(4);
      assertThat(trainer.optimizer().steps()).isEqualTo(4);
      assertThat(trainer.optimizer().updates()).isEqualTo(3);
    }
  }

  /** A power of two: nothing is rounded in another way. */
  @Test
  void halvingTheScaleKeepsTheGradients() {
    ModelConfig model = ZebraModels.mixtral(0.02f);
    StepReport first = train(new RoundingBackend(DType.F16), model).reports.get(0);
    try (TrainingBackend backend = new OverflowingBackend(DType.F16, 1);
        Parameters parameters = Parameters.allocate(backend, model, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config())) {
      parameters.initialize(5);
      int[][] batch = ZebraGang.tokens(SEQUENCE).sequences(1, 0, BATCH);
      assertThat(trainer.step(batch).updated()).isFalse();
      StepReport again = trainer.step(batch);
      assertThat(again.lossScale()).isEqualTo(32768);
      assertThat(again.loss()).isEqualTo(first.loss());
      assertThat(again.auxLoss()).isEqualTo(first.auxLoss());
      assertThat(again.gradientNorm() / first.gradientNorm()).isCloseTo(1, within(1e-6));
    }
  }

  @Test
  void weightsForInferenceCanNotBeTrained() {
    ModelConfig model = ZebraModels.mixtral(0);
    try (TrainingBackend backend = new RoundingBackend(DType.BF16);
        Parameters parameters = Parameters.forInference(backend, model, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config())) {
      assertThatThrownBy(() -> trainer.step(ZebraGang.tokens(SEQUENCE).sequences(1, 0, BATCH)))
          .hasMessageContainingAll("opened for inference in BF16", "no F32 master");
    }
  }
}

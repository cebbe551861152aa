package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.IntFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.tensor.DType;

/** Zebra-parallel training in BF16 and F16, and among members that differ. */
@Timeout(120)
class SixteenBitZebraTest {
  private static final int STEPS = 10;
  private static final int SEQUENCE = 12;

  /** Half a unit in the last place of BF16, as a part. */
  private static final double HALF_UNIT = 0x1p-8;

  private static ZebraJob job(ModelConfig model, int m, int n, int r) {
    TrainingPlan plan =
        TrainingPlan.even(ZebraJob.expertsByLayer(model), m, n, r, 2 * m * r, SEQUENCE);
    OptimizerConfig optimizer = OptimizerConfig.standard(LearningRate.constant(1e-3));
    return new ZebraJob(model, plan, optimizer, AuxLoss.Kind.HUGGING_FACE, STEPS, false);
  }

  private static List<ZebraGang.Outcome> run(ZebraJob job, IntFunction<TrainingBackend> devices)
      throws Exception {
    return ZebraGang.run(
        job,
        ZebraGang.tokens(SEQUENCE),
        ModelParts.random(ZebraGang.SEED),
        new ZebraGang.Fault() {
          @Override
          public TrainingBackend backend(int rank, TrainingBackend backend) {
            backend.close();
            return devices.apply(rank);
          }
        });
  }

  private static TrainingBackend device(DType type) {
    return type == DType.F32
        ? Backends.cpu(new CpuOptions(1, Long.MAX_VALUE))
        : new RoundingBackend(type);
  }

  /**
   * The two differ in the order of F32 sums, which now and then rounds an activation the other way:
   * by one unit in one of the thousands of terms that a loss or a gradient is made of. So a loss is
   * off by a fraction of half a unit, a norm, which later steps enter, by a few times as much.
   * Where that changes the sign of a gradient near zero, AdamW steps the other way: in few
   * elements, so that the RMS difference stays a small part of all steps together.
   */
  @ParameterizedTest
  @CsvSource({"BF16, 1, 1, 2", "BF16, 2, 2, 2", "BF16, 2, 1, 3", "F16, 2, 2, 2"})
  void isWhatOneProcessComputes(DType type, int m, int n, int r) throws Exception {
    ZebraJob job = job(ZebraModels.qwen2Moe(0.01f), m, n, r);
    Map<String, float[]> expected = new TreeMap<>();
    StepReport alone = ZebraGang.alone(device(type), job, SEQUENCE, STEPS, expected);
    List<ZebraGang.Outcome> outcomes = run(job, rank -> device(type));
    StepReport report = ZebraGang.succeeded(outcomes);
    assertThat(report.loss() / alone.loss()).isCloseTo(1, within(HALF_UNIT / 4));
    assertThat(report.gradientNorm() / alone.gradientNorm()).isCloseTo(1, within(HALF_UNIT));
    double squares = 0;
    long elements = 0;
    for (ZebraGang.Outcome outcome : outcomes) {
      for (Map.Entry<String, float[]> entry : outcome.weights().entrySet()) {
        float[] same = expected.get(entry.getKey());
        for (int i = 0; i < same.length; i++) {
          double difference = (double) entry.getValue()[i] - same[i];
          squares += difference * difference;
          elements++;
        }
      }
    }
    double steps = STEPS * job.optimizer().learningRate().peak();
    assertThat(Math.sqrt(squares / elements)).isLessThan(steps / 50);
  }

  /** Rows are converted by who receives them; whoever computes in F16 makes all scale the loss. */
  @ParameterizedTest
  @CsvSource({"F32, BF16, BF16", "BF16, F32, F32", "BF16, F16, F16", "F32, F16, BF16"})
  void membersOfDifferentTypesTrainTogether(DType attention, DType first, DType second)
      throws Exception {
    ZebraJob job = job(ZebraModels.mixtral(0.02f), 2, 2, 2);
    StepReport exact = ZebraGang.alone(device(DType.F32), job, SEQUENCE, STEPS, new TreeMap<>());
    StepReport report =
        ZebraGang.succeeded(
            run(job, rank -> device(rank < 2 ? attention : rank == 2 ? first : second)));
    assertThat(report.loss() / exact.loss()).isCloseTo(1, within(0.02));
    assertThat(report.lossScale()).isEqualTo(first == DType.F16 ? 65536 : 1);
  }

  @Test
  void everyRankSkipsAStepThatOverflowsOnOne() throws Exception {
    ZebraJob job = job(ZebraModels.mixtral(0.02f), 2, 2, 2);
    ZebraJob shorter =
        new ZebraJob(job.model(), job.plan(), job.optimizer(), job.auxKind(), STEPS - 1, false);
    // Two losses per step: one of the last step on rank 1.
    List<ZebraGang.Outcome> overflowed =
        run(
            job,
            rank ->
                rank == 1
                    ? new OverflowingBackend(DType.F16, 2 * STEPS)
                    : new RoundingBackend(DType.F16));
    StepReport last = ZebraGang.succeeded(overflowed);
    assertThat(last.updated()).isFalse();
    assertThat(last.step()).isEqualTo(STEPS);
    List<ZebraGang.Outcome> before = run(shorter, rank -> new RoundingBackend(DType.F16));
    ZebraGang.succeeded(before);
    for (int rank = 0; rank < 4; rank++) {
      Map<String, float[]> found = overflowed.get(rank).weights();
      before
          .get(rank)
          .weights()
          .forEach((name, values) -> assertThat(found.get(name)).isEqualTo(values));
    }
  }

  @Test
  void attentionRanksOfDifferentTypesAreRefused() throws Exception {
    ZebraJob job = job(ZebraModels.mixtral(0), 2, 1, 2);
    List<ZebraGang.Outcome> outcomes = run(job, rank -> device(rank == 1 ? DType.BF16 : DType.F32));
    assertThat(outcomes.get(0).failure())
        .hasMessageContainingAll("must compute in one type", "[F32, BF16]");
  }
}

package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Timeline;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.tensor.DType;

/**
 * Zebra-parallel training with all members on one GPU, a backend each: lanes whose hosts run ahead
 * of their streams compute what lanes of a CPU do. Needs a GPU; {@link GpuGoldenTest} has the
 * command.
 */
@Tag("gpu")
@Timeout(300)
class GpuZebraTest {
  private static final int SEQUENCE = 60;
  private static final int STEPS = 6;

  private static final class OnGpu implements ZebraGang.Fault {
    @Override
    public TrainingBackend backend(int rank, TrainingBackend cpu) {
      cpu.close();
      return TestDevice.open(DType.F32);
    }

    /** Kernels are compiled while peers wait. */
    @Override
    public ExchangeLimits limits() {
      return new ExchangeLimits(64 << 20, Duration.ofSeconds(90));
    }
  }

  private static ZebraJob job() {
    ModelConfig model = ZebraModels.qwen2Moe(0.01f);
    TrainingPlan plan = TrainingPlan.even(ZebraJob.expertsByLayer(model), 2, 2, 3, 12, SEQUENCE);
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(1e-3));
    return new ZebraJob(model, plan, adamW, AuxLoss.Kind.HUGGING_FACE, STEPS, true);
  }

  private static List<ZebraGang.Outcome> run(ZebraGang.Fault where) throws Exception {
    List<ZebraGang.Outcome> outcomes =
        ZebraGang.run(job(), ZebraGang.tokens(SEQUENCE), ModelParts.random(ZebraGang.SEED), where);
    for (ZebraGang.Outcome outcome : outcomes) {
      if (outcome.failure() != null) {
        throw new AssertionError("A rank failed", outcome.failure());
      }
    }
    return outcomes;
  }

  @Test
  void aGangOnAGpuTrainsWhatOneOnCpusDoes() throws Exception {
    StepReport cpu = run(ZebraGang.NO_FAULT).get(0).report().last();
    List<ZebraGang.Outcome> first = run(new OnGpu());
    StepReport gpu = first.get(0).report().last();
    assertThat(gpu.loss()).isCloseTo(cpu.loss(), within(1e-5 * cpu.loss()));
    assertThat(gpu.auxLoss()).isCloseTo(cpu.auxLoss(), within(1e-5 * cpu.auxLoss()));
    assertThat(gpu.gradientNorm()).isCloseTo(cpu.gradientNorm(), within(1e-3 * cpu.gradientNorm()));

    List<ZebraGang.Outcome> second = run(new OnGpu());
    for (int rank = 0; rank < first.size(); rank++) {
      Map<String, float[]> again = second.get(rank).weights();
      first
          .get(rank)
          .weights()
          .forEach((name, weights) -> assertThat(again.get(name)).as(name).isEqualTo(weights));
    }
  }

  @Test
  void busySharesAndTheTimelineAreTheGpus() throws Exception {
    List<ZebraGang.Outcome> outcomes = run(new OnGpu());
    StepReport report = outcomes.get(0).report().last();
    assertThat(report.busyShares()).hasSize(4).allMatch(share -> share > 0 && share <= 1);
    for (ZebraGang.Outcome outcome : outcomes) {
      Timeline timeline = outcome.report().timeline().orElseThrow();
      for (LaneKind lane : LaneKind.values()) {
        ZebraTrainingTest.assertOneAfterTheOther(
            timeline.events().stream().filter(event -> event.task().lane() == lane).toList());
      }
      // A step's time is the host's, a timeline's the device's.
      assertThat(timeline.spanNanos() / 1e9 / report.seconds()).isBetween(0.02, 50.0);
    }
  }
}

package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.ParameterNames;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.TinyModels;
import org.mixedgpu.tensor.Tensor;

/**
 * A step uses nothing of the gradients that the step before has left: with NaN written over them
 * once the optimizer has read them, training has the same bits.
 */
@Timeout(120)
class GradientReuseTest {
  private static final int STEPS = 3;
  private static final int BATCH = 4;
  private static final int SEQUENCE = 9;

  /** As the inner backend, but that adamW leaves NaN in the gradient. */
  private static TrainingBackend spoiling(TrainingBackend inner, AtomicInteger spoiled) {
    return Intercepted.over(
        TrainingBackend.class,
        inner,
        (method, arguments, call) -> {
          Object result = call.proceed();
          if (method.equals("adamW")) {
            inner.fill((Tensor) arguments[3], Float.NaN);
            spoiled.incrementAndGet();
          }
          return result;
        });
  }

  private static TrainingBackend cpu() {
    return Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  }

  @ParameterizedTest
  @EnumSource(ModelFamily.class)
  void ofEveryFamilyInOneProcess(ModelFamily family) {
    AtomicInteger spoiled = new AtomicInteger();
    List<float[]> expected = train(cpu(), family);
    List<float[]> found = train(spoiling(cpu(), spoiled), family);
    assertThat(spoiled.get()).isGreaterThan(STEPS * 10);
    for (int i = 0; i < expected.size(); i++) {
      assertThat(found.get(i)).containsExactly(expected.get(i));
    }
  }

  /** The weights after some steps of two slices. */
  private static List<float[]> train(TrainingBackend backend, ModelFamily family) {
    ModelConfig config = TinyModels.of(family);
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(1e-2));
    TrainerConfig trainerConfig =
        new TrainerConfig(BATCH, SEQUENCE, 2, adamW, AuxLoss.Kind.HUGGING_FACE);
    try (backend;
        Parameters p = TinyModels.parameters(backend, config, 3);
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, p, trainerConfig)) {
      for (int step = 0; step < STEPS; step++) {
        int[][] batch = new int[BATCH][];
        long seed = 100L * step;
        Arrays.setAll(batch, i -> TinyModels.tokens(SEQUENCE, config.vocab(), seed + i));
        trainer.step(batch);
      }
      return new ArrayList<>(ZebraGang.snapshot(backend, p).values());
    }
  }

  @Test
  void ofAttentionAndExpertMembers() throws Exception {
    sameBits(job(ZebraModels.qwen2Moe(0.01f), 1e-3), new Spoiling(false));
  }

  /** Routers of zeros send every token to the first two experts, so that one rank has no rows. */
  @Test
  void ofAnExpertMemberWithoutRows() throws Exception {
    ZebraJob job = job(ZebraModels.mixtral(0.02f), 1e-30);
    Spoiling idle = new Spoiling(true);
    sameBits(job, idle);
    assertThat(idle.weightGradients[2].get()).isPositive();
    assertThat(idle.weightGradients[3].get()).isZero();
  }

  private static ZebraJob job(ModelConfig model, double learningRate) {
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(learningRate));
    TrainingPlan plan = TrainingPlan.even(ZebraJob.expertsByLayer(model), 2, 2, 2, BATCH, SEQUENCE);
    return new ZebraJob(model, plan, adamW, AuxLoss.Kind.HUGGING_FACE, STEPS, false);
  }

  private static void sameBits(ZebraJob job, Spoiling fault) throws Exception {
    List<ZebraGang.Outcome> expected = run(job, new Skewed(fault.skewed));
    List<ZebraGang.Outcome> found = run(job, fault);
    assertThat(fault.spoiled.get()).isGreaterThan(STEPS * 10);
    for (int rank = 0; rank < expected.size(); rank++) {
      Map<String, float[]> weights = found.get(rank).weights();
      expected
          .get(rank)
          .weights()
          .forEach((name, values) -> assertThat(weights.get(name)).containsExactly(values));
      assertThat(found.get(rank).report().last().gradientNorm())
          .isEqualTo(expected.get(rank).report().last().gradientNorm())
          .isPositive();
    }
  }

  private static List<ZebraGang.Outcome> run(ZebraJob job, ZebraGang.Fault fault) throws Exception {
    List<ZebraGang.Outcome> outcomes =
        ZebraGang.run(job, ZebraGang.tokens(SEQUENCE), ModelParts.random(ZebraGang.SEED), fault);
    for (ZebraGang.Outcome outcome : outcomes) {
      assertThat(outcome.failure()).isNull();
    }
    return outcomes;
  }

  private static class Skewed implements ZebraGang.Fault {
    final boolean skewed;

    Skewed(boolean skewed) {
      this.skewed = skewed;
    }

    @Override
    public void loaded(TrainingBackend backend, Parameters part) {
      for (int layer = 0; skewed && layer < part.config().layers(); layer++) {
        part.find(ParameterNames.router(layer)).ifPresent(router -> backend.fill(router, 0));
      }
      backend.synchronize();
    }
  }

  private static final class Spoiling extends Skewed {
    final AtomicInteger spoiled = new AtomicInteger();
    final AtomicInteger[] weightGradients = new AtomicInteger[4];

    Spoiling(boolean skewed) {
      super(skewed);
      Arrays.setAll(weightGradients, rank -> new AtomicInteger());
    }

    @Override
    public TrainingBackend backend(int rank, TrainingBackend backend) {
      return Intercepted.over(
          TrainingBackend.class,
          spoiling(backend, spoiled),
          (method, arguments, call) -> {
            if (method.equals("groupedMatmulWeightGradient")) {
              weightGradients[rank].incrementAndGet();
            }
            return call.proceed();
          });
    }
  }
}

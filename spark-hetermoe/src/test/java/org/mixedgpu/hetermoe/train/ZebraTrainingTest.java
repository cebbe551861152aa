package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.TaskKind;
import org.mixedgpu.hetermoe.plan.Timeline;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ParameterNames;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/** Zebra-parallel training computes what one process computes from the same slices. */
@Timeout(120)
class ZebraTrainingTest {
  private static final int STEPS = 10;
  private static final int SEQUENCE = 12;
  private static final int SEQUENCES_PER_SLICE = 2;

  static List<Arguments> plans() {
    int[][] members = {{1, 1}, {2, 1}, {1, 2}, {2, 2}, {3, 2}};
    List<Arguments> plans = new ArrayList<>();
    for (int mn = 0; mn < members.length; mn++) {
      for (int microBatches = 1; microBatches <= 4; microBatches++) {
        // Each M, N meets each of the three models.
        plans.add(
            Arguments.of((mn + microBatches) % 3, members[mn][0], members[mn][1], microBatches));
      }
    }
    return plans;
  }

  private static ModelConfig model(int model) {
    return switch (model) {
      case 0 -> ZebraModels.mixtral(0.02f);
      case 1 -> ZebraModels.qwen3Moe(0);
      default -> ZebraModels.qwen2Moe(0.01f);
    };
  }

  @ParameterizedTest
  @MethodSource("plans")
  void weightsAfterTenStepsAreThoseOfOneProcess(int model, int m, int n, int r) throws Exception {
    ZebraJob job = job(model(model), m, n, r, AuxLoss.Kind.HUGGING_FACE);
    Map<String, float[]> expected = new TreeMap<>();
    StepReport alone = alone(job, expected);
    List<ZebraGang.Outcome> outcomes = ZebraGang.run(job, ZebraGang.tokens(SEQUENCE));
    Map<String, float[]> found = weights(job, outcomes);

    assertClose(found, expected);
    StepReport report = outcomes.get(0).report().last();
    assertThat(report.loss()).isCloseTo(alone.loss(), within(1e-5));
    assertThat(report.auxLoss()).isCloseTo(alone.auxLoss(), within(1e-6));
    assertThat(report.gradientNorm()).isCloseTo(alone.gradientNorm(), within(1e-4));
    assertThat(report.targets()).isEqualTo(alone.targets());
    assertThat(report.busyShares()).hasSize(m + n).allMatch(share -> share > 0 && share <= 1);
    assertThat(report.bytesSent()).isPositive();
    // All members saw the same.
    assertThat(outcomes).allMatch(outcome -> outcome.report().last().equals(report));
  }

  @Test
  void theMegatronLossIsTheSameToo() throws Exception {
    ZebraJob job = job(ZebraModels.mixtral(0.05f), 2, 2, 2, AuxLoss.Kind.PER_LAYER);
    Map<String, float[]> expected = new TreeMap<>();
    StepReport alone = alone(job, expected);
    List<ZebraGang.Outcome> outcomes = ZebraGang.run(job, ZebraGang.tokens(SEQUENCE));
    assertClose(weights(job, outcomes), expected);
    assertThat(outcomes.get(3).report().last().auxLoss()).isCloseTo(alone.auxLoss(), within(1e-6));
  }

  @Test
  void theSameSeedTwiceGivesTheSameBits() throws Exception {
    ZebraJob job = job(ZebraModels.qwen2Moe(0.01f), 2, 2, 3, AuxLoss.Kind.HUGGING_FACE);
    List<ZebraGang.Outcome> first = ZebraGang.run(job, ZebraGang.tokens(SEQUENCE));
    List<ZebraGang.Outcome> second = ZebraGang.run(job, ZebraGang.tokens(SEQUENCE));
    for (int rank = 0; rank < 4; rank++) {
      Map<String, float[]> again = second.get(rank).weights();
      first
          .get(rank)
          .weights()
          .forEach((name, weights) -> assertThat(again.get(name)).containsExactly(weights));
    }
  }

  @Test
  void paddingAndUnevenSlicesAreWeightedByTheirTargets() throws Exception {
    ModelConfig model = ZebraModels.mixtral(0);
    BatchSource padded =
        (step, first, count) -> {
          int[][] sequences = ZebraGang.tokens(SEQUENCE).sequences(step, first, count);
          for (int s = 0; s < count; s++) {
            for (int t = 3 + (first + s) % 8; t < SEQUENCE; t++) {
              sequences[s][t] = -1;
            }
          }
          return sequences;
        };
    // Seven sequences in four slices; without aux loss the slicing changes nothing.
    ZebraJob job =
        new ZebraJob(
            model,
            TrainingPlan.even(ZebraJob.expertsByLayer(model), 2, 1, 2, 7, SEQUENCE),
            optimizer(),
            AuxLoss.Kind.HUGGING_FACE,
            STEPS,
            false);
    Map<String, float[]> expected = new TreeMap<>();
    TrainerConfig one = new TrainerConfig(7, SEQUENCE, 1, optimizer(), AuxLoss.Kind.HUGGING_FACE);
    alone(model, one, padded, expected, (backend, parameters) -> {});
    assertClose(weights(job, ZebraGang.run(job, padded)), expected);
  }

  @Test
  void moreExpertRanksThanExpertsOfALayerTrainToo() throws Exception {
    // 8 experts in 2 layers on 9 ranks; some ranks have none in a layer.
    ZebraJob job = job(ZebraModels.qwen3Moe(0), 1, 9, 2, AuxLoss.Kind.HUGGING_FACE);
    Map<String, float[]> expected = new TreeMap<>();
    alone(job, expected);
    List<ZebraGang.Outcome> outcomes = ZebraGang.run(job, ZebraGang.tokens(SEQUENCE));
    assertClose(weights(job, outcomes), expected);
  }

  @Test
  void noTokenIsDroppedWhenAllChooseTheSameRank() throws Exception {
    ZebraJob job = job(ZebraModels.mixtral(0.02f), 2, 2, 2, AuxLoss.Kind.HUGGING_FACE);
    // Routers of zeros: every token takes the first two experts, so buffers must grow to the most.
    ZebraGang.Fault skewed =
        new ZebraGang.Fault() {
          @Override
          public void loaded(TrainingBackend backend, Parameters part) {
            skew(backend, part);
          }
        };
    Map<String, float[]> expected = new TreeMap<>();
    alone(job.model(), config(job), ZebraGang.tokens(SEQUENCE), expected, ZebraTrainingTest::skew);
    List<ZebraGang.Outcome> outcomes =
        ZebraGang.run(job, ZebraGang.tokens(SEQUENCE), ModelParts.random(ZebraGang.SEED), skewed);
    assertClose(weights(job, outcomes), expected);
  }

  @Test
  void theTimelineHasEveryTaskOfTheSchedule() throws Exception {
    ZebraJob quick = job(ZebraModels.mixtral(0), 2, 1, 3, AuxLoss.Kind.HUGGING_FACE);
    ZebraJob job =
        new ZebraJob(quick.model(), quick.plan(), quick.optimizer(), quick.auxKind(), 2, true);
    List<ZebraGang.Outcome> outcomes = ZebraGang.run(job, ZebraGang.tokens(SEQUENCE));
    Timeline timeline =
        Timeline.merge(
            outcomes.stream().map(outcome -> outcome.report().timeline().orElseThrow()).toList());
    for (int rank = 0; rank < 3; rank++) {
      Role role = job.plan().role(rank);
      for (LaneKind lane : LaneKind.values()) {
        int of = rank;
        List<Task> found =
            timeline.events().stream()
                .filter(event -> event.rank() == of && event.task().lane() == lane)
                .map(Timeline.Event::task)
                .filter(task -> task.kind() != TaskKind.UPDATE)
                .toList();
        assertThat(found).isEqualTo(job.plan().schedule().tasks(role, lane));
        assertOneAfterTheOther(
            timeline.events().stream()
                .filter(event -> event.rank() == of && event.task().lane() == lane)
                .toList());
      }
    }
  }

  /** Once warm: what is waited for on a compute lane keeps its device idle at every layer. */
  @Test
  void onlyLanesThatSendAndReceiveWaitForTheDevice() throws Exception {
    ZebraJob job = job(ZebraModels.qwen2Moe(0.01f), 2, 2, 2, AuxLoss.Kind.HUGGING_FACE);
    Waits waits = new Waits();
    List<ZebraGang.Outcome> outcomes =
        ZebraGang.run(job, ZebraGang.tokens(SEQUENCE), ModelParts.random(ZebraGang.SEED), waits);
    weights(job, outcomes);
    assertThat(waits.found).anyMatch(wait -> wait.startsWith("read on attention-0-dispatch"));
    assertThat(waits.found).anyMatch(wait -> wait.startsWith("write on expert-2-dispatch"));
    assertThat(waits.found).noneMatch(wait -> wait.endsWith("-compute"));
    assertThat(waits.found).noneMatch(wait -> wait.startsWith("synchronize"));
  }

  /** There are layers times micro-batches of them, each as large as the worst case. */
  @Test
  void theOrdersOfAnExpertRankPassThroughOneBuffer() throws Exception {
    ZebraJob job = job(ZebraModels.qwen2Moe(0.01f), 1, 1, 3, AuxLoss.Kind.HUGGING_FACE);
    Set<Object> buffers =
        Collections.synchronizedSet(Collections.newSetFromMap(new IdentityHashMap<>()));
    ZebraGang.Fault watched =
        new ZebraGang.Fault() {
          @Override
          public TrainingBackend backend(int rank, TrainingBackend backend) {
            return Intercepted.over(
                TrainingBackend.class,
                backend,
                (method, arguments, call) -> {
                  if (rank == 1
                      && method.equals("write")
                      && ((Tensor) arguments[0]).type() == DType.I32) {
                    buffers.add(arguments[1]);
                  }
                  return call.proceed();
                });
          }
        };
    ZebraGang.run(job, ZebraGang.tokens(SEQUENCE), ModelParts.random(ZebraGang.SEED), watched);
    assertThat(buffers).hasSize(1);
  }

  /** Who calls what waits for the device, or may wait for room to write to it, after a step. */
  private static final class Waits implements ZebraGang.Fault {
    private static final Set<String> WAITING = Set.of("read", "write", "synchronize");
    private final Set<String> found = ConcurrentHashMap.newKeySet();
    private volatile boolean warm;

    @Override
    public TrainingBackend backend(int rank, TrainingBackend backend) {
      return Intercepted.over(
          TrainingBackend.class,
          backend,
          (method, arguments, call) -> {
            if (warm && WAITING.contains(method)) {
              found.add(method + " on " + Thread.currentThread().getName());
            }
            return call.proceed();
          });
    }

    @Override
    public void beforeStep(int rank, long step) {
      warm |= step == 2;
    }
  }

  static void assertOneAfterTheOther(List<Timeline.Event> ofALane) {
    long end = 0;
    for (Timeline.Event event : ofALane) {
      assertThat(event.startNanos()).as("%s", event).isGreaterThanOrEqualTo(end);
      assertThat(event.endNanos()).as("%s", event).isGreaterThanOrEqualTo(event.startNanos());
      end = event.endNanos();
    }
  }

  private static OptimizerConfig optimizer() {
    return OptimizerConfig.standard(LearningRate.cosine(1e-3, 3, 20, 0.1));
  }

  private static ZebraJob job(ModelConfig model, int m, int n, int r, AuxLoss.Kind aux) {
    int batch = m * r * SEQUENCES_PER_SLICE;
    TrainingPlan plan = TrainingPlan.even(ZebraJob.expertsByLayer(model), m, n, r, batch, SEQUENCE);
    return new ZebraJob(model, plan, optimizer(), aux, STEPS, false);
  }

  private static void skew(TrainingBackend backend, Parameters part) {
    for (int layer = 0; layer < part.config().layers(); layer++) {
      part.find(ParameterNames.router(layer)).ifPresent(router -> backend.fill(router, 0));
    }
    backend.synchronize();
  }

  private static TrainerConfig config(ZebraJob job) {
    return new TrainerConfig(
        job.plan().batchSequences(), SEQUENCE, job.plan().slices(), job.optimizer(), job.auxKind());
  }

  private static StepReport alone(ZebraJob job, Map<String, float[]> weights) {
    BatchSource batches = ZebraGang.tokens(SEQUENCE);
    return alone(job.model(), config(job), batches, weights, (backend, parameters) -> {});
  }

  private static StepReport alone(
      ModelConfig model,
      TrainerConfig config,
      BatchSource batches,
      Map<String, float[]> weights,
      BiConsumer<TrainingBackend, Parameters> change) {
    StepReport report = null;
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Parameters parameters = Parameters.allocate(backend, model, Part.all());
        SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, config)) {
      parameters.initialize(ZebraGang.SEED);
      change.accept(backend, parameters);
      for (int step = 1; step <= STEPS; step++) {
        report = trainer.step(batches.sequences(step, 0, config.batch()));
      }
      weights.putAll(ZebraGang.snapshot(backend, parameters));
    }
    return report;
  }

  /** The weights of all ranks as one model, after checking that replicas are equal to the bit. */
  private static Map<String, float[]> weights(ZebraJob job, List<ZebraGang.Outcome> outcomes) {
    Map<String, float[]> all = new TreeMap<>();
    for (int rank = 0; rank < outcomes.size(); rank++) {
      ZebraGang.Outcome outcome = outcomes.get(rank);
      if (outcome.failure() != null) {
        throw new AssertionError("Rank " + rank + " failed", outcome.failure());
      }
      boolean replica = rank > 0 && job.plan().role(rank) == Role.ATTENTION;
      outcome
          .weights()
          .forEach(
              (name, values) -> {
                float[] other = all.put(name, values);
                assertThat(other != null).isEqualTo(replica);
                if (replica) {
                  assertThat(values).containsExactly(other);
                }
              });
    }
    return all;
  }

  private static void assertClose(Map<String, float[]> found, Map<String, float[]> expected) {
    assertThat(found.keySet()).isEqualTo(expected.keySet());
    double squares = 0;
    long elements = 0;
    long far = 0;
    double most = 0;
    for (Map.Entry<String, float[]> entry : expected.entrySet()) {
      float[] values = found.get(entry.getKey());
      for (int i = 0; i < values.length; i++) {
        double difference = Math.abs((double) values[i] - entry.getValue()[i]);
        squares += difference * difference;
        far += difference > 1e-5 ? 1 : 0;
        most = Math.max(most, difference);
        elements++;
      }
    }
    assertThat(Math.sqrt(squares / elements)).as("RMS difference, most %s", most).isLessThan(1e-6);
    assertThat(far).as("of %d elements", elements).isLessThanOrEqualTo(elements / 10_000);
  }
}

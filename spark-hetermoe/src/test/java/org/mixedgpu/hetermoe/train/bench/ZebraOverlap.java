package org.mixedgpu.hetermoe.train.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.locks.LockSupport;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.exchange.InProcessExchange;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.TaskKind;
import org.mixedgpu.hetermoe.plan.TaskTimes;
import org.mixedgpu.hetermoe.plan.Timeline;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.hetermoe.plan.ZebraSimulator;
import org.mixedgpu.hetermoe.train.BatchSource;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.MemberReport;
import org.mixedgpu.hetermoe.train.ModelParts;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.ZebraJob;
import org.mixedgpu.hetermoe.train.ZebraMember;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;

/**
 * How well zebra parallelism keeps both sides busy: one attention and one expert rank with a thread
 * each, R micro-batches of equal size, for R from 1 to 4. The devices are emulated: a tiny model is
 * really trained, and one op of each task takes a given time in addition, asleep, so that the speed
 * of this machine matters little. The simulator predicts from the task times measured with R = 1,
 * where nothing overlaps; it is then compared with what was measured.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.classpathScope=test -Dexec.executable=java \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *   -Xmx1g -cp %classpath org.mixedgpu.hetermoe.train.bench.ZebraOverlap 10 15"
 * </pre>
 *
 * Arguments: milliseconds of one layer's attention and of its experts, forward, per micro-batch;
 * backward takes twice as long, the LM head as long as attention in each pass.
 */
public final class ZebraOverlap {
  private static final int SEQUENCE = 32;
  private static final int SEQUENCES = 1;
  private static final int STEPS = 5;

  private ZebraOverlap() {}

  public static void main(String[] args) throws Exception {
    double attentionMillis = Double.parseDouble(args[0]);
    double expertMillis = Double.parseDouble(args[1]);
    print("attention %.1f ms, experts %.1f ms a layer, emulated", attentionMillis, expertMillis);
    print("R  predicted ms, attention, experts busy | measured ms, attention, experts busy");
    TaskTimes times = null;
    for (int microBatches = 1; microBatches <= 4; microBatches++) {
      TrainingPlan plan = plan(microBatches);
      Timeline measured = schedulePart(train(plan, attentionMillis, expertMillis));
      if (times == null) {
        times = times(measured);
      }
      Timeline predicted = ZebraSimulator.predict(plan, times);
      print("%d  %s | %s", microBatches, row(predicted), row(measured));
    }
  }

  private static void print(String format, Object... values) {
    System.out.printf(Locale.ROOT, format + "%n", values);
  }

  private static String row(Timeline timeline) {
    return String.format(
        Locale.ROOT,
        "%7.1f  %5.1f%%  %5.1f%%",
        timeline.spanNanos() / 1e6,
        100 * timeline.busyShare(Role.ATTENTION),
        100 * timeline.busyShare(Role.EXPERT));
  }

  private static ModelConfig model() {
    int layers = 6;
    MoeConfig moe = new MoeConfig(8, 2, true, 32, 0, Collections.nCopies(layers, true), 0.01f, 0);
    return new ModelConfig(
        ModelFamily.MIXTRAL,
        256,
        64,
        layers,
        4,
        2,
        16,
        32,
        1e-5f,
        RopeConfig.unscaled(10_000),
        false,
        false,
        false,
        QkNorm.NONE,
        Collections.nCopies(layers, 0),
        false,
        Optional.of(moe),
        0.02f,
        SEQUENCE,
        -1,
        List.of());
  }

  private static TrainingPlan plan(int microBatches) {
    return TrainingPlan.even(
        ZebraJob.expertsByLayer(model()), 1, 1, microBatches, microBatches * SEQUENCES, SEQUENCE);
  }

  private static Timeline train(TrainingPlan plan, double attentionMillis, double expertMillis)
      throws Exception {
    OptimizerConfig optimizer = OptimizerConfig.standard(LearningRate.constant(1e-3));
    ZebraJob job = new ZebraJob(model(), plan, optimizer, AuxLoss.Kind.HUGGING_FACE, STEPS, true);
    BatchSource batches =
        (step, first, count) -> {
          Random random = new Random(step * 1000 + first);
          int[][] tokens = new int[count][SEQUENCE];
          for (int[] sequence : tokens) {
            for (int t = 0; t < SEQUENCE; t++) {
              sequence[t] = random.nextInt(256);
            }
          }
          return tokens;
        };
    ExecutorService threads = Executors.newFixedThreadPool(2);
    try (TrainingBackend attention = cpu();
        TrainingBackend expert = cpu()) {
      List<TrainingBackend> backends =
          List.of(
              slowed(
                  attention,
                  Map.of("attention", 1.0, "attentionBackward", 2.0, "crossEntropy", 2.0),
                  attentionMillis),
              slowed(expert, Map.of("swiglu", 1.0, "swigluBackward", 2.0), expertMillis));
      List<InProcessExchange> exchanges = InProcessExchange.group(backends, ExchangeLimits.DEFAULT);
      List<Future<MemberReport>> running = new ArrayList<>();
      for (int rank = 0; rank < 2; rank++) {
        ZebraMember member =
            new ZebraMember(
                job,
                backends.get(rank),
                exchanges.get(rank),
                batches,
                ModelParts.random(1),
                report -> {});
        running.add(threads.submit(member::run));
      }
      List<Timeline> parts = new ArrayList<>();
      for (Future<MemberReport> each : running) {
        parts.add(each.get().timeline().orElseThrow());
      }
      return Timeline.merge(parts);
    } finally {
      threads.shutdownNow();
    }
  }

  private static TrainingBackend cpu() {
    return Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  }

  /** The named ops take their multiple of a time more: there is one of them in each task. */
  private static TrainingBackend slowed(
      TrainingBackend backend, Map<String, Double> ops, double millis) {
    return Intercepted.over(
        TrainingBackend.class,
        backend,
        (method, arguments, call) -> {
          long end = System.nanoTime() + (long) (1e6 * millis * ops.getOrDefault(method, 0.0));
          Object result = call.proceed();
          while (System.nanoTime() < end) {
            LockSupport.parkNanos(end - System.nanoTime());
          }
          return result;
        });
  }

  /** Without the update, which the schedule and its prediction leave out. */
  private static Timeline schedulePart(Timeline timeline) {
    List<Timeline.Event> events =
        timeline.events().stream().filter(e -> e.task().kind() != TaskKind.UPDATE).toList();
    return new Timeline(timeline.attentionRanks(), timeline.ranks(), events);
  }

  /** Mean times by kind and pass; a receiver's own time is that of waiting and not counted. */
  private static TaskTimes times(Timeline measured) {
    Map<String, long[]> sums = new HashMap<>();
    for (Timeline.Event event : measured.events()) {
      long[] sum = sums.computeIfAbsent(key(event.rank(), event.task()), k -> new long[2]);
      sum[0] += event.endNanos() - event.startNanos();
      sum[1]++;
    }
    return (rank, task) -> {
      boolean receives = task.lane() == (rank == 0 ? LaneKind.COMBINE : LaneKind.DISPATCH);
      long[] sum = sums.get(key(rank, task));
      return receives ? 0 : sum[0] / sum[1];
    };
  }

  private static String key(int rank, Task task) {
    return rank + " " + task.kind() + " " + task.direction();
  }
}

package org.mixedgpu.hetermoe.train;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.AllReduce;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.RowFlow;
import org.mixedgpu.hetermoe.plan.Direction;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.TaskKind;
import org.mixedgpu.hetermoe.plan.Timeline;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;

/**
 * One rank of a zebra-parallel training run ("HeterMoE: Efficient Training of Mixture-of-Experts
 * Models on Heterogeneous GPUs"): attention ranks hold all that is not an expert, expert ranks hold
 * experts, and R micro-batches keep both sides busy. It computes what {@link SingleProcessTrainer}
 * defines, with M·R slices.
 *
 * <p>A step: all tasks of the schedule on three lanes; the sum of the gradients over the attention
 * ranks; the global norm, each parameter counted once; AdamW by each parameter's owners, the same
 * on every attention rank. Same plan, same seed: same bits.
 *
 * <p>When anything fails, in any lane of any member, the exchange is aborted and every member's
 * {@link #run} throws, naming the first cause; no thread is left behind.
 */
public final class ZebraMember {
  private final ZebraJob job;
  private final TrainingBackend backend;
  private final Exchange exchange;
  private final BatchSource batches;
  private final ModelParts parts;
  private final StepListener listener;

  /**
   * @param exchange of this rank, with all members of the plan; not closed here
   * @param batches read by attention ranks only
   */
  public ZebraMember(
      ZebraJob job,
      TrainingBackend backend,
      Exchange exchange,
      BatchSource batches,
      ModelParts parts,
      StepListener listener) {
    Check.input(
        exchange.size() == job.plan().ranks(),
        "The plan is for %d ranks, the exchange connects %d",
        job.plan().ranks(),
        exchange.size());
    this.job = job;
    this.backend = backend;
    this.exchange = exchange;
    this.batches = batches;
    this.parts = parts;
    this.listener = listener;
  }

  /**
   * What flows between the two sides, for an exchange that moves rows from GPU to GPU.
   *
   * @param attention attention ranks, which come first
   * @param ranks all
   */
  public static List<RowFlow> flows(int attention, int ranks) {
    List<Integer> tokens = RowFlow.ranks(0, attention);
    List<Integer> experts = RowFlow.ranks(attention, ranks);
    return List.of(
        new RowFlow(LaneKind.DISPATCH.label(), tokens, experts),
        new RowFlow(LaneKind.COMBINE.label(), experts, tokens));
  }

  /** Trains all steps in the calling thread and in the lanes' threads. */
  public MemberReport run() {
    Role role = job.plan().role(exchange.rank());
    String name = (role == Role.ATTENTION ? "attention-" : "expert-") + exchange.rank();
    // Lanes close first: their work uses the tensors. What fails then does not hide the cause.
    try (Resources resources = new Resources();
        MemberLanes lanes = new MemberLanes(backend, exchange)) {
      try {
        lanes.open(name);
        return new Run(role, lanes, resources).train();
      } catch (Throwable e) {
        // Errors too: peers must not wait for a member that has run out of memory.
        throw lanes.firstFailure(e);
      }
    }
  }

  /** What lives from the first step to the last. */
  private final class Run {
    private final int ranks = job.plan().ranks();
    private final int rank = exchange.rank();
    private final MemberLanes lanes;
    private final Member member;
    private final Optimizer optimizer;
    private final GradientNorm norm;
    private final AllReduce all;
    private final LossScale lossScale;
    private final Task update =
        new Task(TaskKind.UPDATE, job.model().layers(), 0, Direction.BACKWARD);
    private long reported;

    Run(Role role, MemberLanes lanes, Resources resources) {
      this.lanes = lanes;
      Part part =
          role == Role.ATTENTION
              ? Part.withoutExperts()
              : Part.experts(job.plan().placement().expertsOf(rank));
      int[] everyone = IntStream.range(0, ranks).toArray();
      this.all = resources.own(new AllReduce(exchange, "step", everyone, backend, 0));
      MemberTypes types =
          MemberTypes.exchange(
              all, rank, ranks, job.plan().attentionRanks(), backend.computeType());
      this.lossScale = LossScale.of(types.narrowest());
      Parameters parameters = resources.own(Parameters.allocate(backend, job.model(), part));
      MemberLink link = resources.own(new MemberLink(job, backend, exchange, types));
      this.member =
          role == Role.ATTENTION
              ? new AttentionMember(
                  job, backend, exchange, link, lanes, resources, parameters, batches)
              : new ExpertMember(job, backend, link, lanes, resources, parameters);
      this.optimizer = resources.own(new Optimizer(backend, parameters, job.optimizer()));
      this.norm = resources.own(new GradientNorm(backend, parameters));
    }

    MemberReport train() {
      parts.load(member.parameters);
      backend.synchronize();
      // Ranks start together, so that the first step's time is that of a step. Loading and saving
      // take members as long as their parts are large.
      all.barrier();
      reported = System.nanoTime();
      StepReport report = null;
      for (long step = 1; step <= job.steps(); step++) {
        report = step(step);
        listener.onStep(report);
      }
      parts.save(rank, member.parameters);
      // Whoever returns says that all parts are there.
      all.barrier();
      return new MemberReport(rank, report, timeline());
    }

    private StepReport step(long step) {
      float scale = lossScale.factor();
      member.begin(step, scale);
      if (job.recordTimeline() && step == job.steps()) {
        // All members count from one moment, at which no device has work left.
        backend.synchronize();
        all.sum();
        lanes.startRecording();
      }
      member.submitStep();
      if (step < job.steps()) {
        member.prefetch(step + 1);
      }
      lanes.synchronize();
      member.reduceGradients();
      member.grads.total().scale(1 / scale);
      double[] totals = all.sum(contribution());
      double gradNorm = Math.sqrt(totals[0]);
      // Every rank sees the same norm, so all decide alike.
      boolean usable = lossScale.accept(gradNorm);
      lanes.run(update, () -> update(gradNorm, usable));
      return report(step, totals, gradNorm, scale, usable);
    }

    /** Queues work only: the next step's tasks come after it, and the host prepares them. */
    private void update(double gradNorm, boolean usable) {
      if (usable) {
        optimizer.step(member.grads.total(), job.optimizer().clipFactor(gradNorm));
      } else {
        optimizer.skip();
      }
    }

    /**
     * Squared norm, loss, aux loss, bytes, then of rank 0 targets and time, then each rank's busy
     * time.
     */
    private double[] contribution() {
      double[] values = new double[6 + ranks];
      boolean replica = rank > 0 && rank < job.plan().attentionRanks();
      values[0] = replica ? 0 : norm.squared(member.grads.total());
      values[1] = member.lossSum();
      values[2] = member.auxLoss();
      values[3] = member.takeBytesSent();
      long now = System.nanoTime();
      if (rank == 0) {
        values[4] = member.targets();
        values[5] = now - reported;
      }
      reported = now;
      values[6 + rank] = lanes.takeBusyNanos();
      return values;
    }

    private StepReport report(
        long step, double[] totals, double gradNorm, float scale, boolean usable) {
      double nanos = totals[5];
      List<Double> busy = new ArrayList<>();
      for (int r = 0; r < ranks; r++) {
        busy.add(Math.min(1, totals[6 + r] / nanos));
      }
      return new StepReport(
          step,
          totals[1] / totals[4],
          totals[2],
          gradNorm,
          job.optimizer().learningRate().at(step),
          (long) totals[4],
          (long) job.plan().batchSequences() * job.plan().sequenceTokens(),
          nanos / 1e9,
          busy,
          job.plan().attentionRanks(),
          (long) totals[3],
          scale,
          usable);
    }

    private long[] timeline() {
      return job.recordTimeline()
          ? new Timeline(job.plan().attentionRanks(), ranks, lanes.recorded()).pack()
          : new long[0];
    }
  }
}

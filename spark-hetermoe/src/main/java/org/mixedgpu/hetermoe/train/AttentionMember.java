package org.mixedgpu.hetermoe.train;

import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.AllReduce;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.hetermoe.plan.Direction;
import org.mixedgpu.hetermoe.plan.ExpertRun;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.TaskKind;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.AttentionSide;
import org.mixedgpu.nn.Embedding;
import org.mixedgpu.nn.Head;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.RopeTables;
import org.mixedgpu.nn.Workspace;
import org.mixedgpu.tensor.Tensor;

/**
 * A rank with everything that is not an expert. Its gradients are those of its slices of the batch;
 * their sum over the attention ranks is the gradient of the batch, because each slice's loss is
 * divided by the targets of the whole batch.
 */
final class AttentionMember extends Member {
  /** Gradients summed at once: 16 MiB, so that small tensors share messages. */
  private static final int BUCKET_ELEMENTS = 1 << 22;

  private final BatchSource batches;
  private final AllReduce reduce;
  private final Embedding embedding;
  private final Head head;
  private final AttentionSide[] sides;
  private final AttentionSlice[] slices;
  private final List<List<ExpertRun>> runs = new ArrayList<>();

  /** The layer with experts before the head. */
  private final int lastMoe;

  private long nextStep;
  private long nextTargets;
  private long targets;
  private float lossScale;
  private float gradScale;

  AttentionMember(
      ZebraJob job,
      TrainingBackend backend,
      Exchange exchange,
      MemberLink link,
      MemberLanes lanes,
      Resources resources,
      Parameters parameters,
      BatchSource batches) {
    super(job, backend, link, lanes, resources, parameters);
    this.batches = batches;
    TrainingPlan plan = job.plan();
    int[] peers = new int[plan.attentionRanks()];
    for (int peer = 0; peer < peers.length; peer++) {
      peers[peer] = peer;
    }
    int bucket = (int) Math.min(BUCKET_ELEMENTS, parameters.elements());
    reduce = own(new AllReduce(exchange, "gradients", peers, backend, bucket));
    RopeTables rope = own(new RopeTables(backend, job.model(), plan.sequenceTokens()));
    Workspace workspace = own(new Workspace(backend));
    embedding = new Embedding(backend, parameters);
    head = new Head(backend, job.model(), parameters, workspace);
    sides = new AttentionSide[job.model().layers()];
    for (int layer = 0; layer < sides.length; layer++) {
      sides[layer] = new AttentionSide(backend, job.model(), layer, parameters, rope, workspace);
      runs.add(plan.placement().runs(layer));
    }
    slices = new AttentionSlice[plan.microBatches()];
    for (int j = 0; j < slices.length; j++) {
      slices[j] = new AttentionSlice(backend, resources, job, sides, plan.sequences(rank, j));
    }
    lastMoe = schedule.moeBefore(schedule.layers());
  }

  @Override
  void begin(long step, float scaleOfLoss) {
    if (nextStep != step) {
      prefetch(step);
    }
    for (AttentionSlice slice : slices) {
      slice.takeLoaded();
    }
    targets = (long) reduce.sum((double) nextTargets)[0];
    Check.input(targets > 0, "The batch of step %d has no target to learn from", step);
    lossScale = scaleOfLoss;
    gradScale = (float) (lossScale / (double) targets);
  }

  @Override
  void prefetch(long step) {
    TrainingPlan plan = job.plan();
    nextTargets = 0;
    for (int j = 0; j < slices.length; j++) {
      int count = plan.sequences(rank, j);
      int[][] next = batches.sequences(step, plan.firstSequence(rank, j), count);
      Check.input(
          next.length == count, "Step %d needs %d sequences; found %d", step, count, next.length);
      for (int[] sequence : next) {
        Check.input(
            sequence.length == plan.sequenceTokens(),
            "Step %d needs sequences of %d tokens; found %d",
            step,
            plan.sequenceTokens(),
            sequence.length);
      }
      nextTargets += slices[j].load(next, SingleProcessTrainer.nextTokens(next));
    }
    nextStep = step;
  }

  @Override
  void run(Task task) {
    AttentionSlice slice = slices[task.microBatch()];
    int layer = task.layer();
    boolean forward = task.direction() == Direction.FORWARD;
    switch (task.kind()) {
      case ATTENTION -> {
        if (forward) {
          attention(slice, layer);
        } else {
          attentionBackward(slice, layer);
        }
      }
      case HEAD -> {
        if (forward) {
          toStage(slice, schedule.layers());
        } else {
          headBackward(slice);
        }
      }
      case DISPATCH, COMBINE -> {
        // What leaves an attention rank is dispatched tokens and gradients by combined results.
        if (forward == (task.kind() == TaskKind.DISPATCH)) {
          sendRuns(task, slice);
        } else {
          receiveRuns(task, slice);
        }
      }
      case EXPERT, UPDATE -> throw unexpected(task);
    }
  }

  /** From the experts' results of the layer before, or the tokens, to the input of a layer. */
  private void toStage(AttentionSlice slice, int layer) {
    int before = schedule.moeBefore(layer);
    if (before < 0) {
      embedding.forward(slice.x[0], slice.ids);
    } else {
      sides[before].combine(slice.x[before + 1], slice.saved[before], slice.slots[before]);
    }
    for (int dense = before + 1; dense < layer; dense++) {
      sides[dense].forward(slice.saved[dense], slice.x[dense]);
      sides[dense].combine(slice.x[dense + 1], slice.saved[dense], null);
    }
  }

  private void attention(AttentionSlice slice, int layer) {
    toStage(slice, layer);
    AttentionSide.Saved saved = slice.saved[layer];
    sides[layer].forward(saved, slice.x[layer]);
    sides[layer].dispatch(slice.slots[layer], saved);
    slice.aux.collect(layer, saved.routing());
  }

  private void headBackward(AttentionSlice slice) {
    Tensor last = slice.x[schedule.layers()];
    head.forwardBackward(slice.rowLoss, slice.dX, last, slice.targets, gradScale, grads);
    fromStage(slice, schedule.layers());
  }

  private void attentionBackward(AttentionSlice slice, int layer) {
    sides[layer].backward(
        slice.dX, slice.saved[layer], slice.dX, slice.slots[layer], grads, slice.aux);
    fromStage(slice, layer);
  }

  /** From the gradient by the input of a layer to those by the experts' results before it. */
  private void fromStage(AttentionSlice slice, int layer) {
    int before = schedule.moeBefore(layer);
    for (int dense = layer - 1; dense > before; dense--) {
      sides[dense].backward(slice.dX, slice.saved[dense], slice.dX, null, grads, null);
    }
    if (before < 0) {
      embedding.backward(slice.dX, slice.ids, grads);
    } else {
      sides[before].combineBackward(slice.slots[before], slice.saved[before], slice.dX);
    }
  }

  /**
   * Sends, and brings to the host what it needs of the device: this lane waits for the device
   * anyway, and the compute lane, which would stand still meanwhile, never has to.
   */
  private void sendRuns(Task task, AttentionSlice slice) {
    boolean forward = task.direction() == Direction.FORWARD;
    if (forward) {
      slice.readOffsets(task.layer());
    }
    int[] offsets = slice.offsets[task.layer()];
    for (ExpertRun run : runs.get(task.layer())) {
      // In the backward pass the expert rank knows the counts.
      int[] counts = new int[forward ? run.count() : 0];
      for (int e = 0; e < counts.length; e++) {
        counts[e] = offsets[run.first() + e + 1] - offsets[run.first() + e];
      }
      send(task, run.rank(), counts, rowsOf(run, slice, task.layer()));
    }
    if (task.layer() != lastMoe) {
      return;
    }
    if (forward) {
      // Every router has decided, and no layer's backward pass starts before what follows this.
      slice.finishAux(lossScale);
    } else {
      slice.readLoss();
    }
  }

  private void receiveRuns(Task task, AttentionSlice slice) {
    for (ExpertRun run : runs.get(task.layer())) {
      Tensor rows = rowsOf(run, slice, task.layer());
      Message message = receive(task, run.rank(), rows);
      Check.that(
          message.rows() == rows.shape().rows(),
          "%s: rank %d returned %d rows of %d",
          task,
          run.rank(),
          message.rows(),
          rows.shape().rows());
    }
  }

  private static Tensor rowsOf(ExpertRun run, AttentionSlice slice, int layer) {
    int first = slice.offsets[layer][run.first()];
    int last = slice.offsets[layer][run.first() + run.count()];
    return slice.slots[layer].rows(first, last - first);
  }

  @Override
  Task sends(Task compute) {
    int j = compute.microBatch();
    if (compute.direction() == Direction.FORWARD) {
      return compute.kind() == TaskKind.HEAD
          ? null
          : new Task(TaskKind.DISPATCH, compute.layer(), j, Direction.FORWARD);
    }
    int before = schedule.moeBefore(compute.layer());
    return before < 0 ? null : new Task(TaskKind.COMBINE, before, j, Direction.BACKWARD);
  }

  @Override
  Task frees(Task receive) {
    // The answer is written where the question was read from.
    TaskKind sent = receive.kind() == TaskKind.COMBINE ? TaskKind.DISPATCH : TaskKind.COMBINE;
    return new Task(sent, receive.layer(), receive.microBatch(), receive.direction());
  }

  @Override
  void reduceGradients() {
    List<Tensor> tensors = new ArrayList<>();
    for (Parameters.Entry entry : grads.total().entries()) {
      tensors.add(entry.tensor());
    }
    reduce.sum(tensors);
  }

  @Override
  long gradientBytesSent() {
    return reduce.bytesSent();
  }

  @Override
  double lossSum() {
    double sum = 0;
    for (AttentionSlice slice : slices) {
      sum += slice.lossSum;
    }
    return sum;
  }

  @Override
  double auxLoss() {
    double sum = 0;
    for (AttentionSlice slice : slices) {
      sum += slice.auxLoss;
    }
    return sum;
  }

  @Override
  long targets() {
    return targets;
  }
}

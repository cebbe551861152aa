package org.mixedgpu.hetermoe.train;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;
import java.util.stream.IntStream;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.hetermoe.plan.Direction;
import org.mixedgpu.hetermoe.plan.ExpertRun;
import org.mixedgpu.hetermoe.plan.Task;
import org.mixedgpu.hetermoe.plan.TaskKind;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.nn.ExpertSide;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Workspace;
import org.mixedgpu.tensor.Tensor;

/**
 * A rank with experts only. It sees the tokens of all attention ranks, so its gradients are those
 * of the whole batch and need no sum with others.
 *
 * <p>Receive buffers are allocated up front, one per micro-batch, for the case that every choice
 * that could fall on this rank does.
 */
final class ExpertMember extends Member {
  private final int sources;
  private final List<Integer> held;

  /** By layer and micro-batch; null where this rank holds no expert. */
  private final ExpertActivations[][] activations;

  private final List<List<ExpertRun>> runs;

  /** Receive buffer of each micro-batch, by source; results leave from it too. */
  private final Tensor[] staging;

  private final Tensor scratch;

  /** For one order at a time, of the lane that receives tokens. */
  private final ByteBuffer order;

  ExpertMember(
      ZebraJob job,
      TrainingBackend backend,
      MemberLink link,
      MemberLanes lanes,
      Resources resources,
      Parameters parameters) {
    super(job, backend, link, lanes, resources, parameters);
    TrainingPlan plan = job.plan();
    sources = plan.attentionRanks();
    int layers = job.model().layers();
    runs =
        IntStream.range(0, layers).mapToObj(layer -> plan.placement().runs(layer, rank)).toList();
    held = IntStream.range(0, layers).filter(layer -> !runs.get(layer).isEmpty()).boxed().toList();
    Workspace workspace = own(new Workspace(backend));
    activations = new ExpertActivations[layers][plan.microBatches()];
    int[] most = new int[plan.microBatches()];
    long orderBytes = 0;
    for (int layer : held) {
      ExpertSide side = new ExpertSide(backend, job.model(), layer, parameters, workspace);
      for (int j = 0; j < most.length; j++) {
        int worst = worstRows(side.experts(), j);
        double expected =
            (double) tokens(j)
                * job.model().requireMoe().topK()
                * side.experts()
                / job.model().requireMoe().experts();
        most[j] = Math.max(most[j], worst);
        activations[layer][j] =
            own(
                new ExpertActivations(
                    backend, resources, side, sources, job.model().hidden(), worst, expected));
        orderBytes = Math.max(orderBytes, activations[layer][j].orderBytes());
      }
    }
    order = ByteBuffer.allocateDirect(Math.toIntExact(orderBytes)).order(ByteOrder.LITTLE_ENDIAN);
    staging = new Tensor[most.length];
    int largest = 0;
    for (int j = 0; j < most.length; j++) {
      staging[j] = rows(most[j]);
      largest = Math.max(largest, most[j]);
    }
    scratch = rows(largest);
  }

  /** Tokens of a micro-batch, of all attention ranks. */
  private int tokens(int microBatch) {
    int sequences = 0;
    for (int source = 0; source < sources; source++) {
      sequences += job.plan().sequences(source, microBatch);
    }
    return Math.multiplyExact(sequences, job.plan().sequenceTokens());
  }

  /** A token chooses k different experts, so at most min(k, experts here) of this rank's. */
  private int worstRows(int experts, int microBatch) {
    return Math.multiplyExact(
        tokens(microBatch), Math.min(experts, job.model().requireMoe().topK()));
  }

  @Override
  void begin(long step, float lossScale) {}

  @Override
  void prefetch(long step) {}

  @Override
  void run(Task task) {
    ExpertActivations own = activations[task.layer()][task.microBatch()];
    Tensor rows = staging[task.microBatch()];
    boolean forward = task.direction() == Direction.FORWARD;
    switch (task.kind()) {
      case EXPERT -> {
        if (forward) {
          own.forward(rows, scratch);
        } else {
          own.backward(rows, scratch, grads);
        }
      }
      case DISPATCH -> {
        if (forward) {
          receiveTokens(task, own, rows);
        } else {
          sendBack(task, own, rows);
        }
      }
      case COMBINE -> {
        if (forward) {
          sendBack(task, own, rows);
        } else {
          receiveGradients(task, own, rows);
        }
      }
      case ATTENTION, HEAD, UPDATE -> throw unexpected(task);
    }
  }

  private void receiveTokens(Task task, ExpertActivations own, Tensor rows) {
    long at = 0;
    for (int source = 0; source < sources; source++) {
      int first = 0;
      for (ExpertRun run : runs.get(task.layer())) {
        Tensor room = rows.rows(at, rows.shape().rows() - at);
        Message message = receive(task, source, room);
        Check.that(
            message.header().length == run.count(),
            "%s: attention rank %d sends rows for %d experts, %d are here",
            task,
            source,
            message.header().length,
            run.count());
        own.counts(source, first, message.header(), message.rows());
        at += message.rows();
        first += run.count();
      }
    }
    own.order(order);
  }

  private void receiveGradients(Task task, ExpertActivations own, Tensor rows) {
    long at = 0;
    for (int source = 0; source < sources; source++) {
      int first = 0;
      for (ExpertRun run : runs.get(task.layer())) {
        int count = own.rows(source, first, run.count());
        Message message = receive(task, source, rows.rows(at, count));
        Check.that(
            message.rows() == count,
            "%s: attention rank %d sends gradients for %d rows of %d",
            task,
            source,
            message.rows(),
            count);
        at += count;
        first += run.count();
      }
    }
  }

  private void sendBack(Task task, ExpertActivations own, Tensor rows) {
    long at = 0;
    for (int source = 0; source < sources; source++) {
      int first = 0;
      for (ExpertRun run : runs.get(task.layer())) {
        int count = own.rows(source, first, run.count());
        send(task, source, new int[0], rows.rows(at, count));
        at += count;
        first += run.count();
      }
    }
  }

  @Override
  Task sends(Task compute) {
    boolean forward = compute.direction() == Direction.FORWARD;
    return new Task(
        forward ? TaskKind.COMBINE : TaskKind.DISPATCH,
        compute.layer(),
        compute.microBatch(),
        compute.direction());
  }

  /** One buffer serves all layers of a micro-batch: it is free when the layer before has left. */
  @Override
  Task frees(Task receive) {
    int j = receive.microBatch();
    int at = held.indexOf(receive.layer());
    if (receive.direction() == Direction.FORWARD) {
      return at == 0 ? null : new Task(TaskKind.COMBINE, held.get(at - 1), j, Direction.FORWARD);
    }
    return at == held.size() - 1
        ? new Task(TaskKind.COMBINE, receive.layer(), j, Direction.FORWARD)
        : new Task(TaskKind.DISPATCH, held.get(at + 1), j, Direction.BACKWARD);
  }

  @Override
  void reduceGradients() {}

  @Override
  long gradientBytesSent() {
    return 0;
  }

  @Override
  double lossSum() {
    return 0;
  }

  @Override
  double auxLoss() {
    return 0;
  }

  @Override
  long targets() {
    return 0;
  }
}

package org.mixedgpu.hetermoe.train;

import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.exchange.Channel;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.hetermoe.plan.LaneKind;
import org.mixedgpu.hetermoe.plan.TrainingPlan;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * One rank's messages with the other side: rows leave in this rank's type and are converted by who
 * receives them, where the types differ. Each lane's messages are sent and received in its thread.
 * Owns what incoming rows of another type lie in until they are converted.
 */
final class MemberLink implements AutoCloseable {
  private final TrainingBackend backend;
  private final Exchange exchange;
  private final MemberTypes types;
  private final AtomicLong bytesSent = new AtomicLong();
  private final Map<LaneKind, Map<DType, Tensor>> arrivals = new HashMap<>();

  MemberLink(ZebraJob job, TrainingBackend backend, Exchange exchange, MemberTypes types) {
    this.backend = backend;
    this.exchange = exchange;
    this.types = types;
    Resources allocated = new Resources();
    try {
      Shape most = Shape.of(mostRows(job), job.model().hidden());
      for (LaneKind lane : new LaneKind[] {LaneKind.DISPATCH, LaneKind.COMBINE}) {
        arrivals.put(lane, new HashMap<>());
        for (DType foreign : foreign(job.plan())) {
          arrivals.get(lane).put(foreign, allocated.own(backend.allocate(foreign, most)));
        }
      }
    } catch (RuntimeException e) {
      allocated.close();
      throw e;
    }
  }

  /** Other types than ours that the other side has. */
  private DType[] foreign(TrainingPlan plan) {
    boolean attention = rank() < plan.attentionRanks();
    return types
        .byRank()
        .subList(
            attention ? plan.attentionRanks() : 0, attention ? plan.ranks() : plan.attentionRanks())
        .stream()
        .filter(type -> type != backend.computeType())
        .distinct()
        .toArray(DType[]::new);
  }

  /** The most rows of one message: every choice of the largest slice. */
  private static long mostRows(ZebraJob job) {
    TrainingPlan plan = job.plan();
    int sequences = 0;
    for (int source = 0; source < plan.attentionRanks(); source++) {
      for (int j = 0; j < plan.microBatches(); j++) {
        sequences = Math.max(sequences, plan.sequences(source, j));
      }
    }
    return (long) sequences * plan.sequenceTokens() * job.model().requireMoe().topK();
  }

  int rank() {
    return exchange.rank();
  }

  private Channel channel(LaneKind lane) {
    return exchange.channel(lane.label());
  }

  void send(LaneKind lane, int peer, int[] header, Tensor rows) {
    bytesSent.addAndGet(rows.bytes());
    channel(lane).send(peer, header, rows);
  }

  /** As {@link Channel#receive}, from a peer of any type. */
  Message receive(LaneKind lane, int peer, Tensor into) {
    DType sent = types.of(peer);
    if (sent == into.type()) {
      return channel(lane).receive(peer, into);
    }
    Tensor arrival = arrivals.get(lane).get(sent);
    long room = Math.min(into.shape().rows(), arrival.shape().rows());
    Message message = channel(lane).receive(peer, arrival.rows(0, room));
    backend.copy(into.rows(0, message.rows()), arrival.rows(0, message.rows()));
    return message;
  }

  /** Payload since the last call. */
  long takeBytesSent() {
    return bytesSent.getAndSet(0);
  }

  @Override
  public void close() {
    arrivals.values().forEach(byType -> byType.values().forEach(Tensor::close));
  }
}

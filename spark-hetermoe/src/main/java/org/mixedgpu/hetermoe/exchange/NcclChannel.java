package org.mixedgpu.hetermoe.exchange;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.cuda.NcclCommunicator;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.Tensor;

/** A channel whose rows pass through NCCL and whose headers through the host's exchange. */
final class NcclChannel implements Channel {
  private final RowFlow flow;
  private final int rank;
  private final Channel headers;
  private final NcclCommunicator group;
  private final NcclGroups groups;
  private final Tensor nothing;

  /** By peer, the header of a message that was refused: it is still the next one. */
  private final Map<Integer, NcclHeader> refused = new ConcurrentHashMap<>();

  /**
   * @param nothing of any type, for messages without rows
   */
  NcclChannel(
      RowFlow flow,
      int rank,
      Channel headers,
      NcclCommunicator group,
      NcclGroups groups,
      Tensor nothing) {
    this.flow = flow;
    this.rank = rank;
    this.headers = headers;
    this.group = group;
    this.groups = groups;
    this.nothing = nothing;
  }

  @Override
  public void send(int peer, int[] header, Tensor rows) {
    groups.refuseIfBroken();
    checkWay(rank, peer);
    if (rows.shape().elements() > 0) {
      AtomicReference<Event> ready = new AtomicReference<>();
      groups.during(() -> ready.set(group.send(peer, rows)));
      ready.get().synchronize();
    }
    headers.send(peer, NcclHeader.of(header, rows).encode(), nothing.rows(0, 0));
  }

  @Override
  public Message receive(int peer, Tensor into) {
    groups.refuseIfBroken();
    checkWay(peer, rank);
    NcclHeader earlier = refused.remove(peer);
    NcclHeader found =
        earlier != null ? earlier : NcclHeader.decode(headers.receive(peer, nothing).header());
    if (!found.fits(into)) {
      refused.put(peer, found);
    }
    Check.input(
        found.fits(into),
        "Cannot receive %d rows of %d %s from rank %d on channel %s into a %s tensor of shape %s",
        found.rows(),
        found.rowElements(),
        found.type(),
        peer,
        flow.channel(),
        into.type(),
        into.shape());
    if (found.rows() * found.rowElements() > 0) {
      groups.during(() -> group.receive(peer, into.rows(0, found.rows())));
    }
    return new Message(found.header(), found.rows());
  }

  @Override
  public void await(int peer) {
    groups.refuseIfBroken();
    checkWay(peer, rank);
    if (!refused.containsKey(peer)) {
      headers.await(peer);
    }
  }

  private void checkWay(int sender, int receiver) {
    Check.input(
        flow.goes(sender, receiver),
        "On channel %s rows flow from ranks %s to ranks %s, not from rank %d to rank %d",
        flow.channel(),
        flow.from(),
        flow.to(),
        sender,
        receiver);
  }
}

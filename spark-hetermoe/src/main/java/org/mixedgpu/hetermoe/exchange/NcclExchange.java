package org.mixedgpu.hetermoe.exchange;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.cuda.NcclCommunicator;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The exchange of members that each have a GPU of their own: rows pass from GPU to GPU through
 * NCCL, everything else (headers, row counts, other channels, who is lost) through another
 * exchange, which connects the same members and is closed with this one. One NCCL group for each
 * channel whose rows are moved so, and one for sums; their names travel over the other exchange,
 * which has authenticated all members.
 *
 * <p>A send is done when its receive is reached, on the devices: unlike in other exchanges a
 * sender's lane waits for its receiver's. The schedule's lanes send and receive in one order on all
 * members, so that none waits in a circle. When the other exchange is aborted or loses a peer, the
 * groups are aborted: what waits in them ends within seconds, and every later call fails with the
 * reason.
 *
 * <p>Tried with one GPU only (one member, its sums, messages to itself); not yet run between two.
 */
public final class NcclExchange implements Exchange {
  private static final String CONTROL = "nccl";

  private final Exchange host;
  private final Backend backend;
  private final Map<String, NcclCommunicator> groups = new LinkedHashMap<>();
  private final int[] summing;

  /** Rows of a message without any. */
  private final Tensor nothing;

  private volatile String broken;

  private NcclExchange(Exchange host, Backend backend, int[] summing) {
    this.host = host;
    this.backend = backend;
    this.summing = summing.clone();
    this.nothing = backend.allocate(DType.I32, Shape.of(1));
  }

  /**
   * Connects all members; collective.
   *
   * @param host connects the same members; owned by the result, also when this fails
   * @param channels whose rows pass from GPU to GPU, the same on all members
   * @param summing ranks that will ask for {@link #deviceSum}, ascending
   * @param limit how long anything may take
   */
  public static NcclExchange connect(
      Exchange host, Backend backend, List<String> channels, int[] summing, Duration limit) {
    NcclExchange exchange = new NcclExchange(host, backend, summing);
    try {
      host.whenBroken(exchange::breakLater);
      int[] all = new int[host.size()];
      Arrays.setAll(all, rank -> rank);
      for (String channel : channels) {
        exchange.join(channel, all, limit);
      }
      if (summing.length > 1 && exchange.position(summing) >= 0) {
        exchange.join(sumName(summing), summing, limit);
      }
      return exchange;
    } catch (RuntimeException e) {
      host.abort("rank " + host.rank() + " could not connect: " + e.getMessage());
      exchange.close();
      throw e;
    }
  }

  private static String sumName(int[] ranks) {
    return "sum of ranks " + Arrays.toString(ranks);
  }

  /** This rank's place among others, or −1. */
  private int position(int[] ranks) {
    return Arrays.stream(ranks).boxed().toList().indexOf(host.rank());
  }

  private void join(String name, int[] ranks, Duration limit) {
    byte[] id;
    Channel control = host.channel(CONTROL);
    if (host.rank() == ranks[0]) {
      id = NcclCommunicator.newId();
      for (int i = 1; i < ranks.length; i++) {
        control.send(ranks[i], NcclId.encode(id), nothing.rows(0, 0));
      }
    } else {
      id = NcclId.decode(control.receive(ranks[0], nothing).header());
    }
    NcclCommunicator group =
        NcclCommunicator.join(backend, name, id, ranks.length, position(ranks), limit);
    synchronized (groups) {
      groups.put(name, group);
    }
    refuseIfBroken();
  }

  @Override
  public int rank() {
    return host.rank();
  }

  @Override
  public int size() {
    return host.size();
  }

  @Override
  public boolean encrypted() {
    return false;
  }

  @Override
  public Channel channel(String name) {
    Channel headers = host.channel(name);
    NcclCommunicator group = group(name);
    return group == null ? headers : new GpuChannel(name, headers, group);
  }

  private NcclCommunicator group(String name) {
    synchronized (groups) {
      return groups.get(name);
    }
  }

  @Override
  public Optional<DeviceSum> deviceSum(int[] ranks) {
    NcclCommunicator group = Arrays.equals(ranks, summing) ? group(sumName(ranks)) : null;
    return group == null
        ? Optional.empty()
        : Optional.of(
            values -> {
              refuseIfBroken();
              group.sum(values);
            });
  }

  @Override
  public void abort(String reason) {
    host.abort(reason);
    breakNow(reason);
  }

  @Override
  public void whenBroken(Consumer<String> listener) {
    host.whenBroken(listener);
  }

  /** Called on a thread that must not wait. */
  private void breakLater(String reason) {
    Thread thread = new Thread(() -> breakNow(reason), "nccl-abort-rank-" + host.rank());
    thread.setDaemon(true);
    thread.start();
  }

  private void breakNow(String reason) {
    List<NcclCommunicator> open;
    synchronized (groups) {
      broken = broken == null ? reason : broken;
      open = new ArrayList<>(groups.values());
    }
    open.forEach(group -> group.abort(reason));
  }

  private void refuseIfBroken() {
    synchronized (groups) {
      if (broken != null) {
        groups.values().forEach(group -> group.abort(broken));
        throw new ExchangeAbortedException(broken);
      }
    }
  }

  /** Also ends the host's exchange. */
  @Override
  public void close() {
    List<NcclCommunicator> open;
    synchronized (groups) {
      open = new ArrayList<>(groups.values());
      groups.clear();
    }
    try (Exchange last = host;
        Tensor memory = nothing) {
      for (NcclCommunicator group : open) {
        if (broken == null) {
          group.close();
        } else {
          group.abort(broken);
        }
      }
    }
  }

  private final class GpuChannel implements Channel {
    private final String name;
    private final Channel headers;
    private final NcclCommunicator group;

    GpuChannel(String name, Channel headers, NcclCommunicator group) {
      this.name = name;
      this.headers = headers;
      this.group = group;
    }

    @Override
    public void send(int peer, int[] header, Tensor rows) {
      refuseIfBroken();
      headers.send(peer, NcclHeader.of(header, rows).encode(), nothing.rows(0, 0));
      if (rows.shape().elements() > 0) {
        moved(() -> group.send(peer, rows));
      }
    }

    @Override
    public Message receive(int peer, Tensor into) {
      NcclHeader found = NcclHeader.decode(headers.receive(peer, nothing).header());
      Check.input(
          found.type() == into.type()
              && found.rowElements() == into.shape().rowElements()
              && found.rows() <= into.shape().rows(),
          "Cannot receive %d rows of %d %s from rank %d on channel %s into a %s tensor of shape %s",
          found.rows(),
          found.rowElements(),
          found.type(),
          peer,
          name,
          into.type(),
          into.shape());
      refuseIfBroken();
      if (found.rows() * found.rowElements() > 0) {
        moved(() -> group.receive(peer, into.rows(0, found.rows())));
      }
      return new Message(found.header(), found.rows());
    }

    /** A failure while the exchange breaks is an echo of the cause. */
    private void moved(Runnable call) {
      try {
        call.run();
      } catch (MixedGpuException e) {
        if (broken != null && e.fault() == Fault.MISSING) {
          throw new ExchangeAbortedException(broken);
        }
        throw e;
      }
    }
  }
}

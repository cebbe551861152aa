package org.mixedgpu.hetermoe.exchange;

import java.time.Duration;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.cuda.NcclCommunicator;
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
 * sender's lane waits for its receiver's, and rows flow one way on a channel. What waits for what
 * has no circle, because a receive is queued only when its send is:
 *
 * <ol>
 *   <li>the sender queues its send, behind the work that makes the rows;
 *   <li>its host waits for these, not for the send, and then sends the header;
 *   <li>the receiver gets the header, knows how much comes, and queues its receive.
 * </ol>
 *
 * <p>So everything that a receive waits for is queued before it, on all devices. And it waits for
 * the header's way only: a receive that was queued while the rows are still computed would keep
 * multiprocessors from the receiver's own work all that time.
 *
 * <p>When the other exchange is aborted or loses a peer, or NCCL itself fails, the groups are
 * aborted: what waits in them ends within seconds, and every later call fails with the reason.
 */
public final class NcclExchange implements Exchange {
  private static final String CONTROL = "nccl";

  /**
   * Blocks of a message, each of which takes a multiprocessor of some 132 from other work. One
   * moves about 20 GB/s over NVLink. More make a message quicker and the step slower.
   */
  private static final int BLOCKS = 4;

  /** Makes a group that is still to be joined; another in tests. */
  interface Groups {
    /** See {@link NcclCommunicator#of}. */
    NcclCommunicator make(Backend backend, String name, int blocks, Duration limit);
  }

  private final Exchange host;
  private final Groups maker;
  private final Backend backend;
  private final int[] summing;
  private final Duration limit;
  private final NcclGroups groups;
  private final Map<String, Channel> channels = new LinkedHashMap<>();
  private final List<Consumer<String>> listeners = new CopyOnWriteArrayList<>();

  /** Rows of a message without any; two elements that nobody reads. */
  private final Tensor nothing;

  private boolean closed;

  private NcclExchange(
      Exchange host, Groups maker, Backend backend, int[] summing, Duration limit) {
    this.host = host;
    this.maker = maker;
    this.backend = backend;
    this.summing = summing.clone();
    this.limit = limit;
    this.groups = new NcclGroups(host.rank(), limit, this::abort);
    this.nothing = backend.allocate(DType.I32, Shape.of(2));
  }

  /**
   * Connects all members; collective.
   *
   * @param host connects the same members; owned by the result, also when this fails
   * @param flows channels whose rows pass from GPU to GPU, the same on all members
   * @param summing ranks that will ask for {@link #deviceSum}, ascending
   * @param limit how long anything may take
   */
  public static NcclExchange connect(
      Exchange host, Backend backend, List<RowFlow> flows, int[] summing, Duration limit) {
    return connect(host, NcclCommunicator::of, backend, flows, summing, limit);
  }

  static NcclExchange connect(
      Exchange host,
      Groups maker,
      Backend backend,
      List<RowFlow> flows,
      int[] summing,
      Duration limit) {
    NcclExchange exchange;
    try {
      exchange = new NcclExchange(host, maker, backend, summing, limit);
    } catch (Throwable e) {
      try (Exchange last = host) {
        host.abort("rank " + host.rank() + " could not connect: " + MixedGpuException.describe(e));
        throw e;
      }
    }
    try {
      host.whenBroken(exchange::breakUp);
      exchange.connect(flows);
      return exchange;
    } catch (Throwable e) {
      try (Exchange last = exchange) {
        exchange.abort(
            "rank " + host.rank() + " could not connect: " + MixedGpuException.describe(e));
        throw e;
      }
    }
  }

  private void connect(List<RowFlow> flows) {
    int[] all = IntStream.range(0, host.size()).toArray();
    for (RowFlow flow : flows) {
      NcclCommunicator group = join(flow.channel(), all, BLOCKS);
      groups.during(() -> group.connect(flow.to(host.rank()), flow.from(host.rank()), nothing));
      Channel headers = host.channel(flow.channel());
      channels.put(
          flow.channel(), new NcclChannel(flow, host.rank(), headers, group, groups, nothing));
    }
    if (summing.length > 1 && position(summing) >= 0) {
      // Sums are alone on their GPUs, which may have all blocks.
      join(sumName(summing), summing, 0);
    }
  }

  private static String sumName(int[] ranks) {
    return "sum of ranks " + Arrays.toString(ranks);
  }

  /** This rank's place among others, or −1. */
  private int position(int[] ranks) {
    return Arrays.stream(ranks).boxed().toList().indexOf(host.rank());
  }

  private NcclCommunicator join(String name, int[] ranks, int blocks) {
    NcclCommunicator group = maker.make(backend, name, blocks, limit);
    groups.add(name, group);
    byte[] id;
    Channel control = host.channel(CONTROL);
    if (host.rank() == ranks[0]) {
      id = group.newId();
      for (int i = 1; i < ranks.length; i++) {
        control.send(ranks[i], NcclId.encode(id), nothing.rows(0, 0));
      }
    } else {
      id = NcclId.decode(control.receive(ranks[0], nothing).header());
    }
    groups.during(() -> group.join(id, ranks.length, position(ranks)));
    return group;
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
    Channel own = channels.get(name);
    return own == null ? host.channel(name) : own;
  }

  @Override
  public Optional<DeviceSum> deviceSum(int[] ranks) {
    NcclCommunicator group = Arrays.equals(ranks, summing) ? groups.get(sumName(ranks)) : null;
    return group == null
        ? Optional.empty()
        : Optional.of(values -> groups.during(() -> group.sum(values)));
  }

  @Override
  public void abort(String reason) {
    host.abort(reason);
    breakUp(reason);
  }

  /** Listeners hear the reason before anything else fails because of it. */
  @Override
  public void whenBroken(Consumer<String> listener) {
    listeners.add(new Once(listener));
    if (groups.broken() != null) {
      listeners.forEach(each -> each.accept(groups.broken()));
    }
  }

  /** Called on any thread, also on one that must not wait. */
  private void breakUp(String reason) {
    groups.breakUp(reason, first -> listeners.forEach(each -> each.accept(first)));
  }

  /** Also ends the host's exchange. */
  @Override
  public void close() {
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
    }
    try (Exchange last = host;
        Tensor memory = nothing) {
      groups.close();
    }
  }
}

package org.mixedgpu.hetermoe.exchange;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.Tensor;

/**
 * The exchange of members that are threads of one process: tests, and gangs on {@code local[*]}.
 * Messages pass through host memory, bounded by {@link ExchangeLimits#queueBytes}. Thread-safe as
 * {@link Channel} says.
 */
public final class InProcessExchange implements Exchange {
  private final Group group;
  private final int rank;
  private final Backend backend;
  private final Map<String, Channel> channels = new ConcurrentHashMap<>();

  private record LinkKey(String channel, int from, int to) {}

  /** What the members share. */
  private static final class Group {
    final int size;
    final ExchangeLimits limits;
    final AtomicReference<String> aborted = new AtomicReference<>();
    final List<Consumer<String>> listeners = new CopyOnWriteArrayList<>();
    final Map<LinkKey, Link> links = new ConcurrentHashMap<>();
    final boolean[] closed;

    Group(int size, ExchangeLimits limits) {
      this.size = size;
      this.limits = limits;
      this.closed = new boolean[size];
    }

    Link link(String channel, int from, int to) {
      return links.computeIfAbsent(
          new LinkKey(channel, from, to),
          key -> {
            String name = channel + " from rank " + from + " to rank " + to;
            Link link = new Link(name, limits, aborted::get);
            synchronized (closed) {
              if (closed[from]) {
                link.close(from);
              } else if (closed[to]) {
                link.close(to);
              }
            }
            return link;
          });
    }

    void close(int rank) {
      synchronized (closed) {
        closed[rank] = true;
      }
      links.forEach(
          (key, link) -> {
            if (key.from() == rank || key.to() == rank) {
              link.close(rank);
            }
          });
    }
  }

  private InProcessExchange(Group group, int rank, Backend backend) {
    this.group = group;
    this.rank = rank;
    this.backend = backend;
  }

  /**
   * Connects as many members as there are backends, in rank order.
   *
   * @param backends of each member's tensors; members may share one
   */
  public static List<InProcessExchange> group(
      List<? extends Backend> backends, ExchangeLimits limits) {
    Group group = new Group(backends.size(), limits);
    List<InProcessExchange> members = new ArrayList<>();
    for (int rank = 0; rank < backends.size(); rank++) {
      members.add(new InProcessExchange(group, rank, backends.get(rank)));
    }
    return members;
  }

  @Override
  public int rank() {
    return rank;
  }

  @Override
  public int size() {
    return group.size;
  }

  @Override
  public boolean encrypted() {
    return false;
  }

  @Override
  public Channel channel(String name) {
    return channels.computeIfAbsent(name, QueueChannel::new);
  }

  @Override
  public void abort(String reason) {
    if (group.aborted.compareAndSet(null, reason)) {
      group.links.values().forEach(Link::wake);
      group.listeners.forEach(listener -> listener.accept(reason));
    }
  }

  /** Members are threads here: none is lost without an abort. */
  @Override
  public void whenBroken(Consumer<String> listener) {
    group.listeners.add(new Once(listener));
    String reason = group.aborted.get();
    if (reason != null) {
      group.listeners.forEach(each -> each.accept(reason));
    }
  }

  @Override
  public void close() {
    group.close(rank);
  }

  private final class QueueChannel implements Channel {
    private final String name;

    QueueChannel(String name) {
      this.name = name;
    }

    @Override
    public void send(int peer, int[] header, Tensor rows) {
      Link link = group.link(name, rank, checked(peer));
      Check.input(
          rows.bytes() <= Integer.MAX_VALUE,
          "A message of %d bytes is too large; send at most %d at once",
          rows.bytes(),
          Integer.MAX_VALUE);
      ByteBuffer bytes = link.reserve((int) rows.bytes());
      try {
        if (bytes.hasRemaining()) {
          backend.read(bytes, rows);
        }
      } catch (RuntimeException e) {
        link.discard(bytes);
        throw e;
      }
      bytes.position(0);
      link.put(
          new Link.Packet(
              header.clone(), rows.type(), rows.shape().rows(), rows.shape().rowElements(), bytes));
    }

    @Override
    public Message receive(int peer, Tensor into) {
      Link link = group.link(name, checked(peer), rank);
      Link.Packet packet = link.peek();
      check(peer, packet, into);
      if (packet.rows() > 0) {
        backend.write(into.rows(0, packet.rows()), packet.bytes());
      }
      link.remove(packet);
      return new Message(packet.header(), packet.rows());
    }

    @Override
    public void await(int peer) {
      group.link(name, checked(peer), rank).await();
    }

    private void check(int peer, Link.Packet packet, Tensor into) {
      Check.input(
          packet.type() == into.type()
              && packet.rowElements() == into.shape().rowElements()
              && packet.rows() <= into.shape().rows(),
          "Cannot receive %d rows of %d %s from rank %d on channel %s into a %s tensor of shape %s",
          packet.rows(),
          packet.rowElements(),
          packet.type(),
          peer,
          name,
          into.type(),
          into.shape());
    }

    private int checked(int peer) {
      Check.input(
          peer >= 0 && peer < group.size && peer != rank,
          "Rank %d has no peer %d among %d members",
          rank,
          peer,
          group.size);
      return peer;
    }
  }
}

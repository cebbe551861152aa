package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.Consumer;
import org.apache.spark.network.client.RpcResponseCallback;
import org.apache.spark.network.client.StreamCallbackWithID;
import org.apache.spark.network.client.TransportClient;
import org.apache.spark.network.server.OneForOneStreamManager;
import org.apache.spark.network.server.RpcHandler;
import org.apache.spark.network.server.StreamManager;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.Channel;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeAbortedException;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.hetermoe.exchange.Once;
import org.mixedgpu.tensor.Tensor;

/**
 * The exchange of members that are processes, over Spark's network layer and host memory. It
 * listens as soon as it exists, so that peers may connect before it is used; {@link #join} says who
 * the members are. One connection per channel, peer and direction, and one more to each peer, which
 * tells when it dies. Received messages wait in memory within {@link TransportOptions#queueBytes}
 * per channel and peer.
 */
public final class SparkNetworkExchange implements Exchange {
  private static final StreamManager NO_STREAMS = new OneForOneStreamManager();

  private final TransportOptions options;
  private final Transport transport;
  private final AtomicReference<String> aborted = new AtomicReference<>();
  private final AtomicReference<String> broken = new AtomicReference<>();
  private final List<Consumer<String>> listeners = new CopyOnWriteArrayList<>();
  private final Map<Integer, Peer> peers = new ConcurrentHashMap<>();
  private final Map<Link, Inbox> inboxes = new ConcurrentHashMap<>();
  private final Map<Link, Outbox> outboxes = new ConcurrentHashMap<>();

  /** Who is at the other end of a connection, and which outbox its credits belong to. */
  private final Map<io.netty.channel.Channel, Connection> connections = new ConcurrentHashMap<>();

  private volatile boolean abortsFirst;
  private volatile boolean closing;
  private int rank = -1;
  private List<PeerAddress> members = List.of();
  private Backend backend;

  private record Link(String channel, int peer) {}

  private record Connection(Peer peer, TransportClient client, Outbox credited) {}

  /**
   * Starts to listen.
   *
   * @param host address to listen on, and what peers are told
   * @param secret of the run; whoever knows it may connect
   */
  public SparkNetworkExchange(String host, String secret, TransportOptions options) {
    this.options = options;
    this.transport = new Transport(host, secret, options, new Handler());
  }

  public PeerAddress address() {
    return transport.address();
  }

  /**
   * Connects to all members; they listen already.
   *
   * @param addresses of all members in rank order, this one included
   * @param tensors the backend whose tensors are sent and received
   */
  public void join(int self, List<PeerAddress> addresses, Backend tensors) {
    Check.that(rank < 0, "Rank %d has joined already", rank);
    rank = self;
    members = List.copyOf(addresses);
    backend = tensors;
    for (int peer = 0; peer < members.size(); peer++) {
      if (peer != rank) {
        connect(peer, null);
      }
    }
  }

  @Override
  public int rank() {
    return rank;
  }

  @Override
  public int size() {
    return members.size();
  }

  @Override
  public boolean encrypted() {
    return options.encrypted();
  }

  @Override
  public Channel channel(String name) {
    Check.that(rank >= 0, "The exchange is not joined yet");
    return new Channel() {
      @Override
      public void send(int peer, int[] header, Tensor rows) {
        outboxes
            .computeIfAbsent(new Link(name, checked(peer)), SparkNetworkExchange.this::outbox)
            .send(rank, header, rows, backend);
      }

      @Override
      public Message receive(int peer, Tensor into) {
        return inbox(name, checked(peer)).receive(into, backend);
      }

      @Override
      public void await(int peer) {
        inbox(name, checked(peer)).await();
      }
    };
  }

  @Override
  public void abort(String reason) {
    if (abortHere(reason)) {
      abortsFirst = true;
      ByteBuffer frame = Frame.abort(reason);
      connections.values().forEach(c -> c.client().send(frame.duplicate()));
    }
  }

  /** Whether {@link #abort} was called here before a peer's abort came. */
  public boolean abortsFirst() {
    return abortsFirst;
  }

  @Override
  public synchronized void close() {
    if (closing) {
      return;
    }
    if (aborted.get() == null) {
      try {
        outboxes.values().forEach(Outbox::flush);
      } catch (PeerLostException e) {
        // The peer did not wait for these messages, so nobody misses them.
      }
    }
    closing = true;
    // On every connection in both directions, so that no peer sees one end before the word.
    connections.values().forEach(c -> c.client().send(Frame.bye()));
    connections.values().forEach(c -> c.client().close());
    transport.close();
    abortHere("rank " + rank + " has closed its exchange");
  }

  /** Bytes that went from the socket straight into a waiting receiver's tensor. */
  long bytesInPlace() {
    return inboxes.values().stream().mapToLong(Inbox::bytesInPlace).sum();
  }

  /** Ends all connections as the death of the process would. */
  void dieForTest() {
    closing = true;
    transport.close();
    connections.values().forEach(c -> c.client().close());
  }

  @Override
  public void whenBroken(Consumer<String> listener) {
    listeners.add(new Once(listener));
    String reason = broken.get();
    if (reason != null) {
      listeners.forEach(each -> each.accept(reason));
    }
  }

  private void tell(String reason) {
    if (broken.compareAndSet(null, reason)) {
      listeners.forEach(listener -> listener.accept(reason));
    }
  }

  private boolean abortHere(String reason) {
    if (!aborted.compareAndSet(null, reason)) {
      return false;
    }
    try {
      tell(reason);
    } finally {
      wake();
    }
    return true;
  }

  private void refuseIfAborted() {
    String reason = aborted.get();
    if (reason != null) {
      throw new ExchangeAbortedException(reason);
    }
  }

  private void leave(Peer peer, String how) {
    if (peer.leave(how)) {
      wake();
    }
  }

  /** The peer went without closing its exchange. Takes the locks of all boxes. */
  private void lost(Peer peer, String how) {
    if (!closing && peer.leave(how)) {
      // Listeners first: what fails next is an echo of this.
      try {
        tell("rank " + peer.rank() + " " + how);
      } finally {
        wake();
      }
    }
  }

  private void wake() {
    inboxes.values().forEach(Inbox::wake);
    outboxes.values().forEach(Outbox::wake);
  }

  private int checked(int peer) {
    Check.input(
        peer >= 0 && peer < members.size() && peer != rank,
        "Rank %d has no peer %d among %d members",
        rank,
        peer,
        members.size());
    return peer;
  }

  private Peer peer(int of) {
    return peers.computeIfAbsent(of, Peer::new);
  }

  private Inbox inbox(String channel, int from) {
    Peer peer = peer(from);
    return inboxes.computeIfAbsent(
        new Link(channel, from),
        link -> new Inbox(channel, peer, how -> lost(peer, how), this::refuseIfAborted, options));
  }

  private Outbox outbox(Link link) {
    Outbox[] self = new Outbox[1];
    Peer peer = peer(link.peer());
    self[0] =
        new Outbox(
            link.channel(),
            peer,
            () -> connect(link.peer(), self[0]),
            how -> lost(peer, how),
            this::refuseIfAborted,
            options);
    return self[0];
  }

  private TransportClient connect(int to, Outbox credited) {
    TransportClient client = transport.connect(to, members.get(to));
    Connection connection = new Connection(peer(to), client, credited);
    connections.put(client.getChannel(), connection);
    client.send(Frame.hello(rank));
    if (!client.isActive()) {
      ended(connection);
    }
    return client;
  }

  private void ended(Connection connection) {
    if (connection != null) {
      lost(connection.peer(), "has ended without a word; see its log");
    }
  }

  /** Called on the network's threads; never waits. */
  private final class Handler extends RpcHandler {
    @Override
    public void receive(TransportClient client, ByteBuffer message, RpcResponseCallback reply) {
      reply.onFailure(new UnsupportedOperationException("Members don't ask, they send"));
    }

    @Override
    public StreamCallbackWithID receiveStream(
        TransportClient client, ByteBuffer head, RpcResponseCallback reply) {
      Frame.Head message = Frame.Head.decode(head);
      return inbox(message.channel(), message.from()).accept(message, client);
    }

    @Override
    public void receive(TransportClient client, ByteBuffer message) {
      Connection connection = connections.get(client.getChannel());
      byte kind = message.get();
      switch (kind) {
        case Frame.HELLO ->
            connections.put(
                client.getChannel(), new Connection(peer(message.getInt()), client, null));
        case Frame.CREDIT -> connection.credited().credit(message.getLong());
        case Frame.ABORT -> abortHere(StandardCharsets.UTF_8.decode(message).toString());
        case Frame.BYE -> leave(connection.peer(), "has closed its exchange");
        default -> throw new IllegalStateException("Unknown message " + kind);
      }
    }

    @Override
    public void channelInactive(TransportClient client) {
      ended(connections.remove(client.getChannel()));
    }

    @Override
    public StreamManager getStreamManager() {
      return NO_STREAMS;
    }
  }
}

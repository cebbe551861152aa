package org.mixedgpu.hetermoe.spark.exchange;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.spark.SparkConf;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.exchange.HostExchangeContract;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

class SparkNetworkExchangeTest extends HostExchangeContract {
  private static final String SECRET = "a secret of this run";
  private static final ExchangeLimits LIMITS = new ExchangeLimits(1 << 20, Duration.ofSeconds(15));

  @Override
  protected List<? extends Exchange> connect(List<Backend> backends, ExchangeLimits limits) {
    return connect(backends, TransportOptions.plain(limits));
  }

  static List<SparkNetworkExchange> connect(
      List<? extends Backend> backends, TransportOptions options) {
    List<SparkNetworkExchange> members = new ArrayList<>();
    for (int rank = 0; rank < backends.size(); rank++) {
      members.add(new SparkNetworkExchange("127.0.0.1", SECRET, options));
    }
    List<PeerAddress> addresses = members.stream().map(SparkNetworkExchange::address).toList();
    for (int rank = 0; rank < backends.size(); rank++) {
      members.get(rank).join(rank, addresses, backends.get(rank));
    }
    return members;
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  @Timeout(60)
  void aStrangerWithAnotherSecretIsRefusedAndHarmsNobody(boolean encrypted) {
    TransportOptions options = TransportOptions.plain(LIMITS);
    TransportOptions used = encrypted ? options.withEncryption() : options;
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Tensor rows = backend.allocate(DType.F32, Shape.of(2, 2));
        SparkNetworkExchange stranger = new SparkNetworkExchange("127.0.0.1", "a guess", used)) {
      List<SparkNetworkExchange> members = connect(List.of(backend, backend), used);
      assertThatThrownBy(
              () ->
                  stranger.join(1, List.of(members.get(0).address(), stranger.address()), backend))
          .isInstanceOf(MixedGpuException.class)
          .hasMessageContaining("did not accept the run's secret");
      members.get(0).channel("c").send(1, new int[] {4}, rows);
      assertThat(members.get(1).channel("c").receive(0, rows).header()).containsExactly(4);
      members.forEach(Exchange::close);
    }
  }

  @Test
  @Timeout(60)
  void aPeerThatDoesNotEncryptIsRefused() {
    TransportOptions plain = TransportOptions.plain(LIMITS);
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        SparkNetworkExchange guarded =
            new SparkNetworkExchange("127.0.0.1", SECRET, plain.withEncryption());
        SparkNetworkExchange open = new SparkNetworkExchange("127.0.0.1", SECRET, plain)) {
      assertThatThrownBy(() -> open.join(1, List.of(guarded.address(), open.address()), backend))
          .isInstanceOf(MixedGpuException.class);
    }
  }

  @Test
  @Timeout(60)
  void aPeerThatDiesFailsABlockedReceiveWithinSeconds() throws Exception {
    TransportOptions options = TransportOptions.plain(LIMITS);
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Tensor rows = backend.allocate(DType.F32, Shape.of(2, 2));
        SparkNetworkExchange living = new SparkNetworkExchange("127.0.0.1", SECRET, options);
        SparkNetworkExchange dying = new SparkNetworkExchange("127.0.0.1", SECRET, options)) {
      List<PeerAddress> addresses = List.of(living.address(), dying.address());
      living.join(0, addresses, backend);
      dying.join(1, addresses, backend);
      CompletableFuture<Object> blocked =
          CompletableFuture.supplyAsync(() -> living.channel("c").receive(1, rows));
      Thread.sleep(200);
      long start = System.nanoTime();
      dying.dieForTest();
      assertThatThrownBy(blocked::get)
          .isInstanceOf(ExecutionException.class)
          .cause()
          .isInstanceOfSatisfying(PeerLostException.class, e -> assertThat(e.peer()).isEqualTo(1))
          .hasMessageContaining("rank 1 has ended without a word");
      assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(3));
    }
  }

  /**
   * One connection of many breaks: all that wait for the peer hear of it, not its channel alone.
   */
  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  @Timeout(60)
  void aConnectionThatBreaksInTheMiddleOfAMessageEndsTheWaitsOfAllChannels(boolean encrypted)
      throws Exception {
    TransportOptions options = TransportOptions.plain(LIMITS);
    TransportOptions used = encrypted ? options.withEncryption() : options;
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Tensor large = backend.allocate(DType.F32, Shape.of(8192, 1024));
        SparkNetworkExchange sender = new SparkNetworkExchange("127.0.0.1", SECRET, used);
        SparkNetworkExchange receiver = new SparkNetworkExchange("127.0.0.1", SECRET, used);
        Relay relay = new Relay(receiver.address().port(), large.bytes() / 8)) {
      PeerAddress relayed = new PeerAddress("127.0.0.1", relay.port());
      sender.join(0, List.of(sender.address(), relayed), backend);
      receiver.join(1, List.of(sender.address(), receiver.address()), backend);
      Waiter atSender = new Waiter(sender, 1, backend);
      Waiter atReceiver = new Waiter(receiver, 0, backend);
      assertThat(relay.cut).isNotDone();
      Thread sending = new Thread(() -> sender.channel("a").send(1, new int[0], large));
      sending.setUncaughtExceptionHandler((thread, lost) -> {});
      sending.start();
      assertThat(relay.cut.get(10, TimeUnit.SECONDS)).isLessThan(large.bytes());
      atSender.assertEndsSoon("rank 1 could not be sent to");
      atReceiver.assertEndsSoon("rank 0 broke off in the middle of a message");
      sending.join();
    }
  }

  /** Waits for a peer in both ways: for a message on the channel {@code b}, and for bad news. */
  private static final class Waiter {
    private final int peer;
    private final CompletableFuture<Object> received = new CompletableFuture<>();
    private final CompletableFuture<String> told = new CompletableFuture<>();

    Waiter(SparkNetworkExchange exchange, int peer, Backend backend) throws InterruptedException {
      this.peer = peer;
      exchange.whenBroken(told::complete);
      Thread thread =
          new Thread(
              () -> {
                try (Tensor rows = backend.allocate(DType.F32, Shape.of(2, 2))) {
                  received.complete(exchange.channel("b").receive(peer, rows));
                } catch (RuntimeException e) {
                  received.completeExceptionally(e);
                }
              });
      thread.start();
      while (thread.getState() != Thread.State.TIMED_WAITING) {
        assertThat(received).isNotDone();
        Thread.sleep(10);
      }
    }

    void assertEndsSoon(String how) {
      assertThat(received)
          .failsWithin(Duration.ofSeconds(3))
          .withThrowableOfType(ExecutionException.class)
          .havingCause()
          .isInstanceOfSatisfying(
              PeerLostException.class, e -> assertThat(e.peer()).isEqualTo(peer))
          .withMessageContaining(how);
      assertThat(told).succeedsWithin(Duration.ofSeconds(3)).asString().startsWith(how);
    }
  }

  /** A setting that comes too late for a connection has no effect and breaks nothing. */
  @Test
  @Timeout(60)
  void aLargeMessageGoesFromTheSocketIntoTheWaitingTensor() throws Exception {
    TransportOptions options = TransportOptions.plain(LIMITS);
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Tensor sent = backend.allocate(DType.F32, Shape.of(1024, 1024));
        Tensor got = backend.allocate(DType.F32, Shape.of(1024, 1024))) {
      List<SparkNetworkExchange> members = connect(List.of(backend, backend), options);
      for (int i = 1; i <= 5; i++) {
        backend.fill(sent, i);
        CompletableFuture<Object> receiver =
            CompletableFuture.supplyAsync(() -> members.get(1).channel("c").receive(0, got));
        members.get(0).channel("c").send(1, new int[0], sent);
        receiver.get();
        ByteBuffer bytes = ByteBuffer.allocate((int) got.bytes()).order(ByteOrder.LITTLE_ENDIAN);
        backend.read(bytes, got);
        for (int at = 0; at < bytes.capacity(); at += Float.BYTES) {
          assertThat(bytes.getFloat(at)).isEqualTo(i);
        }
      }
      assertThat(members.get(1).bytesInPlace()).isGreaterThan(sent.bytes());
      members.forEach(Exchange::close);
    }
  }

  @Test
  void listensWithinTheRangeOfPortsAndSaysWhenItIsFull() throws IOException {
    try (ServerSocket taken = new ServerSocket(0)) {
      int port = taken.getLocalPort();
      TransportOptions options =
          TransportOptions.of(
              new SparkConf(false).set("spark.hetermoe.exchangePorts", port + "-" + port), LIMITS);
      assertThatThrownBy(() -> new SparkNetworkExchange("127.0.0.1", SECRET, options).close())
          .hasMessageContaining("ports " + port + " to " + port)
          .hasMessageContaining("widen spark.hetermoe.exchangePorts");
    }
    SparkConf wrong = new SparkConf(false).set("spark.hetermoe.exchangePorts", "40000");
    assertThatThrownBy(() -> TransportOptions.of(wrong, LIMITS))
        .hasMessageContaining("a range such as 40000-40099");
  }

  @Test
  void encryptsWhereSparkIsToldTo() {
    assertThat(TransportOptions.of(new SparkConf(false), LIMITS).encrypted()).isFalse();
    for (String key :
        List.of(
            "spark.network.crypto.enabled",
            "spark.authenticate.enableSaslEncryption",
            "spark.io.encryption.enabled",
            "spark.ssl.rpc.enabled")) {
      assertThat(TransportOptions.of(new SparkConf(false).set(key, "true"), LIMITS).encrypted())
          .as(key)
          .isTrue();
    }
  }

  @Test
  @Timeout(30)
  void plainTextIsNotSeenOnAnEncryptedConnection() throws Exception {
    // A relay between the two members, which remembers what passes.
    TransportOptions options = TransportOptions.plain(LIMITS).withEncryption();
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
        Tensor rows = backend.allocate(DType.F32, Shape.of(64, 64));
        SparkNetworkExchange a = new SparkNetworkExchange("127.0.0.1", SECRET, options);
        SparkNetworkExchange b = new SparkNetworkExchange("127.0.0.1", SECRET, options);
        Relay relay = new Relay(b.address().port())) {
      backend.fill(rows, 1.5f);
      a.join(0, List.of(a.address(), new PeerAddress("127.0.0.1", relay.port())), backend);
      b.join(1, List.of(a.address(), b.address()), backend);
      a.channel("dispatch").send(1, new int[0], rows);
      b.channel("dispatch").receive(0, rows);
      String seen = relay.seen();
      assertThat(seen.length()).isGreaterThan(64 * 64 * 4);
      assertThat(seen).doesNotContain("dispatch");
      assertThat(seen).doesNotContain("\u0000\u0000\u00c0\u003f\u0000\u0000\u00c0\u003f");
    }
  }

  /** Passes bytes on to a port and keeps a copy of them. */
  private static final class Relay implements AutoCloseable {
    private final ServerSocket server = new ServerSocket(0);
    private final StringBuffer seen = new StringBuffer();
    private final List<Socket> sockets = new ArrayList<>();
    private final long limit;

    /** Bytes that a connection had passed on when it was cut. */
    final CompletableFuture<Long> cut = new CompletableFuture<>();

    Relay(int port) throws IOException {
      this(port, Long.MAX_VALUE);
    }

    /**
     * @param limit after so many bytes one way a connection is cut
     */
    Relay(int port, long limit) throws IOException {
      this.limit = limit;
      start(
          () -> {
            while (true) {
              Socket from = server.accept();
              Socket to = new Socket("127.0.0.1", port);
              synchronized (sockets) {
                sockets.add(from);
                sockets.add(to);
              }
              start(() -> copy(from, to));
              start(() -> copy(to, from));
            }
          });
    }

    private interface Work {
      void run() throws IOException;
    }

    private static void start(Work work) {
      Thread thread =
          new Thread(
              () -> {
                try {
                  work.run();
                } catch (IOException e) {
                  // the other end closed
                }
              });
      thread.setDaemon(true);
      thread.start();
    }

    private void copy(Socket from, Socket to) throws IOException {
      byte[] bytes = new byte[1 << 16];
      long passed = 0;
      for (int n = from.getInputStream().read(bytes);
          n >= 0;
          n = from.getInputStream().read(bytes)) {
        seen.append(new String(bytes, 0, n, java.nio.charset.StandardCharsets.ISO_8859_1));
        to.getOutputStream().write(bytes, 0, n);
        passed += n;
        if (passed >= limit) {
          // The sender sees a reset; the receiver, after all that has passed, the end.
          from.setSoLinger(true, 0);
          from.close();
          to.close();
          cut.complete(passed);
        }
      }
    }

    int port() {
      return server.getLocalPort();
    }

    String seen() {
      return seen.toString();
    }

    @Override
    public void close() throws IOException {
      server.close();
      synchronized (sockets) {
        for (Socket socket : sockets) {
          socket.close();
        }
      }
    }
  }
}

package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.BrokenBarrierException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.cuda.SimulatedGpu;
import org.mixedgpu.backend.cuda.SimulatedNccl;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.base.LiveThreads;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** How NCCL exchanges wait and break, over a simulated NCCL whose ranks behave like processes. */
@Timeout(60)
class NcclFaultTest {
  private static final ExchangeLimits LIMITS = new ExchangeLimits(1 << 20, Duration.ofSeconds(20));
  private static final int SECONDS = 5;
  private static final int ROWS = 1000;
  private static final String WATCH = "nccl-watch.*";

  private final SimulatedNccl nccl = new SimulatedNccl(true /* ranks are processes */);
  private final List<TrainingBackend> backends = new ArrayList<>();
  private final List<Tensor> tensors = new ArrayList<>();
  private final List<Lane> lanes = new ArrayList<>();
  private final List<NcclExchange> connected = new ArrayList<>();

  @AfterEach
  void nothingIsLeft() throws InterruptedException {
    // Whatever a failed test has left waiting.
    connected.forEach(member -> member.abort("the test is over"));
    for (Lane lane : lanes) {
      try {
        lane.close();
      } catch (MixedGpuException e) {
        assertThat(e).hasMessageContaining("Work on lane");
      }
    }
    connected.forEach(NcclExchange::close);
    tensors.forEach(Tensor::close);
    assertThat(backends).allMatch(backend -> SimulatedGpu.left(backend) == 0);
    // Throws if the exchange has left a tensor open.
    backends.forEach(TrainingBackend::close);
    assertThat(nccl.crimes()).isEmpty();
    LiveThreads.assertNoneSoon(WATCH);
  }

  private List<InProcessExchange> hosts(int size) {
    for (int rank = 0; rank < size; rank++) {
      backends.add(SimulatedGpu.over(Backends.cpu(new CpuOptions(1, Long.MAX_VALUE))));
    }
    return InProcessExchange.group(backends, LIMITS);
  }

  private List<NcclExchange> connect(int size) throws Exception {
    return connect(hosts(size), TestNccl.star(size), TestNccl.LIMIT);
  }

  private List<NcclExchange> connect(
      List<? extends Exchange> hosts, List<RowFlow> flows, Duration limit) throws Exception {
    connected.addAll(TestNccl.connect(hosts, nccl::make, backends, flows, new int[] {0}, limit));
    return connected;
  }

  private Tensor rows(int rank) {
    Tensor tensor = backends.get(rank).allocate(DType.F32, Shape.of(ROWS));
    tensors.add(tensor);
    return tensor;
  }

  private Lane lane(int rank, String name) {
    Lane lane = backends.get(rank).urgentLane(name);
    lanes.add(lane);
    return lane;
  }

  private static void close(List<NcclExchange> members) throws Exception {
    List<Future<?>> closing = new ArrayList<>();
    members.forEach(member -> closing.add(CompletableFuture.runAsync(member::close)));
    for (Future<?> each : closing) {
      each.get(SECONDS, TimeUnit.SECONDS);
    }
  }

  @Test
  void rowsMayKeepFewBlocksAndSumsAll() throws Exception {
    List<NcclExchange> members = connect(2);
    int most = nccl.mostBlocks();
    assertThat(most).isBetween(1, 16);
    // Two flows; sums are alone.
    assertThat(backends).allMatch(backend -> SimulatedGpu.left(backend) == 2 * most);
    close(members);
  }

  /** Kernels of either group are behind some of the other's: no abort ends before the other. */
  @Test
  void groupsThatWaitForEachOtherAreAbortedTogether() throws Exception {
    List<Integer> one = List.of(1);
    List<RowFlow> flows =
        List.of(new RowFlow("a", List.of(0), one), new RowFlow("b", List.of(0), one));
    List<NcclExchange> members = connect(hosts(2), flows, TestNccl.LIMIT);
    List<Lane> senders = List.of(lane(0, "first"), lane(0, "second"));
    CyclicBarrier bothWait = new CyclicBarrier(2);
    String[][] orders = {{"a", "b"}, {"b", "a"}};
    for (int i = 0; i < 2; i++) {
      String[] order = orders[i];
      Tensor rows = rows(0);
      senders
          .get(i)
          .submit(
              () -> {
                members.get(0).channel(order[0]).send(1, new int[0], rows);
                await(bothWait);
                members.get(0).channel(order[1]).send(1, new int[0], rows);
              });
    }
    awaitWaiting(4);
    members.get(1).abort("enough");
    close(members);
    assertThat(nccl.waiting()).isZero();
    for (Lane sender : senders) {
      assertThatThrownBy(sender::synchronize).hasMessageContaining("enough");
    }
  }

  /** Whoever breaks an exchange tells its listeners first, and that may take a while. */
  @Test
  void closingWaitsForAnAbortThatHasOnlyBegun() throws Exception {
    List<NcclExchange> members = connect(2);
    CountDownLatch told = new CountDownLatch(1);
    members
        .get(0)
        .whenBroken(
            reason -> {
              told.countDown();
              pause();
            });
    CompletableFuture<Void> abort =
        CompletableFuture.runAsync(() -> members.get(0).abort("enough"));
    assertThat(told.await(SECONDS, TimeUnit.SECONDS)).isTrue();
    members.get(0).close();
    assertThat(SimulatedGpu.left(backends.get(0))).isZero();
    abort.get(SECONDS, TimeUnit.SECONDS);
  }

  private static void pause() {
    try {
      Thread.sleep(300);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** A receive that waited for rows still to be made would keep multiprocessors for nothing. */
  @Test
  void aReceiverHearsOfRowsWhenTheyAreThere() throws Exception {
    List<Integer> one = List.of(1);
    List<RowFlow> flows =
        List.of(new RowFlow("a", List.of(0), one), new RowFlow("b", List.of(0), one));
    List<NcclExchange> members = connect(hosts(2), flows, TestNccl.LIMIT);
    Tensor sent = rows(0);
    Tensor got = rows(1);
    lane(0, "sender")
        .submit(
            () -> {
              members.get(0).channel("a").send(1, new int[] {1}, sent);
              // Its rows are those that the first message may still be reading.
              members.get(0).channel("b").send(1, new int[] {2}, sent);
            });
    CompletableFuture<Message> second =
        CompletableFuture.supplyAsync(() -> members.get(1).channel("b").receive(0, got));
    awaitWaiting(2);
    Thread.sleep(100);
    assertThat(second).isNotDone();
    assertThat(members.get(1).channel("a").receive(0, got).header()).containsExactly(1);
    assertThat(second.get(SECONDS, TimeUnit.SECONDS).header()).containsExactly(2);
    close(members);
  }

  private static void await(CyclicBarrier barrier) {
    try {
      barrier.await();
    } catch (InterruptedException | BrokenBarrierException e) {
      throw new IllegalStateException(e);
    }
  }

  private void awaitWaiting(int kernels) throws InterruptedException {
    for (int i = 0; i < 1000 && nccl.waiting() < kernels; i++) {
      Thread.sleep(5);
    }
    assertThat(nccl.waiting()).isEqualTo(kernels);
  }

  @Test
  void listenersHearTheReasonBeforeAnythingThatWaitsEnds() throws Exception {
    List<NcclExchange> members = connect(2);
    List<Integer> waitingWhenTold = new ArrayList<>();
    members.get(0).whenBroken(reason -> waitingWhenTold.add(nccl.waiting()));
    Tensor rows = rows(0);
    lane(0, "sender").submit(() -> members.get(0).channel("tokens").send(1, new int[0], rows));
    awaitWaiting(1);
    members.get(1).abort("enough");
    assertThat(waitingWhenTold).containsExactly(1);
    close(members);
  }

  @Test
  void aPeerThatHangsKeepsNobodyFromClosing() throws Exception {
    List<InProcessExchange> hosts = hosts(2);
    // Rank 1 does not hear of the abort, as a process that is stopped.
    List<Exchange> deaf = List.of(hosts.get(0), deaf(hosts.get(1)));
    List<NcclExchange> members = connect(deaf, TestNccl.star(2), Duration.ofMillis(900));
    Tensor rows = rows(0);
    Lane sender = lane(0, "sender");
    CountDownLatch queued = new CountDownLatch(1);
    sender.submit(
        () -> {
          members.get(0).channel("tokens").send(1, new int[0], rows);
          queued.countDown();
        });
    queued.await();
    awaitWaiting(1);
    members.get(0).abort("no patience");
    // What waited on the device has ended, though NCCL waits for rank 1.
    sender.synchronize();
    assertThat(nccl.waiting()).isZero();
    long start = System.nanoTime();
    members.get(0).close();
    assertThat(Duration.ofNanos(System.nanoTime() - start))
        .isBetween(Duration.ofMillis(890), Duration.ofSeconds(SECONDS));
    members.get(1).abort("awake again");
    members.get(1).close();
  }

  @Test
  void aPeerThatDoesNotLeaveIsNamedAfterTheTimeLimit() throws Exception {
    List<NcclExchange> members = connect(hosts(2), TestNccl.star(2), Duration.ofMillis(700));
    assertThatThrownBy(members.get(0)::close)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED))
        .hasMessageContaining("Rank 0 could not leave its NCCL groups within 700 ms");
    members.get(1).close();
  }

  @Test
  void anAbortEndsTheWaitForAMemberThatNeverConnects() throws Exception {
    List<InProcessExchange> hosts = hosts(2);
    CompletableFuture<NcclExchange> connecting =
        CompletableFuture.supplyAsync(
            () ->
                NcclExchange.connect(
                    hosts.get(0),
                    nccl::make,
                    backends.get(0),
                    TestNccl.star(2),
                    new int[] {0},
                    TestNccl.LIMIT));
    Thread.sleep(200);
    assertThat(connecting).isNotDone();
    hosts.get(1).abort("rank 1 has no GPU");
    assertThatThrownBy(() -> connecting.get(SECONDS, TimeUnit.SECONDS))
        .isInstanceOf(ExecutionException.class)
        .cause()
        .isInstanceOf(ExchangeAbortedException.class)
        .hasMessageContaining("rank 1 has no GPU");
  }

  /** NCCL notices at once that a peer is gone, the other exchange a little later who it was. */
  @Test
  void whoWasLostIsSaidRatherThanWhatNcclSays() throws Exception {
    List<NcclExchange> members = connect(2);
    Tensor rows = rows(0);
    nccl.failWith(6);
    CompletableFuture<Void> sending =
        CompletableFuture.runAsync(
            () -> members.get(0).channel("tokens").send(1, new int[0], rows));
    Thread.sleep(300);
    members.get(1).abort("rank 1 has ended without a word");
    assertThatThrownBy(() -> sending.get(SECONDS, TimeUnit.SECONDS))
        .cause()
        .isInstanceOf(ExchangeAbortedException.class)
        .hasMessageContaining("rank 1 has ended without a word");
    close(members);
  }

  @Test
  void whatNcclSaysIsTheErrorWhereNobodyWasLost() throws Exception {
    List<NcclExchange> members = connect(2);
    Tensor rows = rows(0);
    nccl.failWith(2);
    assertThatThrownBy(() -> members.get(0).channel("tokens").send(1, new int[0], rows))
        .isInstanceOf(MixedGpuException.class)
        .isNotInstanceOf(ExchangeAbortedException.class)
        .hasMessageContaining("ncclSend of 4000 bytes to rank 1 failed with 2")
        .hasMessageContaining("NCCL group tokens, rank 0");
    members.get(0).abort("rank 0 failed");
    close(members);
  }

  /** A lost connection while all processes live: nobody calls anything that could say so. */
  @Test
  void whatFailsBetweenCallsEndsAllThatWaits() throws Exception {
    List<NcclExchange> members = connect(2);
    List<String> told = new CopyOnWriteArrayList<>();
    members.get(1).whenBroken(told::add);
    Tensor sent = rows(0);
    Tensor got = rows(0);
    lane(0, "sender").submit(() -> members.get(0).channel("tokens").send(1, new int[0], sent));
    awaitWaiting(1);
    CompletableFuture<Message> receiving =
        CompletableFuture.supplyAsync(() -> members.get(0).channel("back").receive(1, got));
    nccl.failBetweenCalls(0, 6);
    String reason =
        "rank 0 can't go on: NCCL's own work failed with 6 (simulated error): NCCL group"
            + " tokens, rank 0";
    assertThatThrownBy(() -> receiving.get(SECONDS, TimeUnit.SECONDS))
        .cause()
        .isInstanceOf(ExchangeAbortedException.class)
        .hasMessageContaining(reason);
    for (int i = 0; i < 200 && told.isEmpty(); i++) {
      Thread.sleep(5);
    }
    assertThat(told).singleElement().asString().startsWith(reason);
    close(members);
    assertThat(nccl.waiting()).isZero();
  }

  @Test
  void nobodyWatchesGroupsThatAreClosed() throws Exception {
    List<NcclExchange> members = connect(2);
    assertThat(LiveThreads.named(WATCH))
        .containsExactlyInAnyOrder("nccl-watch-rank-0", "nccl-watch-rank-1");
    close(members);
    LiveThreads.assertNoneSoon(WATCH);
  }

  @Test
  void whoWasLostIsSaidAlsoWhereNcclFailsBetweenCalls() throws Exception {
    List<NcclExchange> members = connect(2);
    List<String> told = new CopyOnWriteArrayList<>();
    members.get(0).whenBroken(told::add);
    nccl.failBetweenCalls(0, 6);
    // It is seen by then, and who it was is not known yet.
    Thread.sleep(1500);
    assertThat(told).isEmpty();
    members.get(1).abort("rank 1 has ended without a word");
    close(members);
    assertThat(told).containsExactly("rank 1 has ended without a word");
  }

  @Test
  void whatFailsInTheCleanupDoesNotHideWhyNobodyCouldConnect() {
    InProcessExchange of = hosts(2).get(0);
    Exchange host =
        Intercepted.over(
            Exchange.class,
            of,
            (method, arguments, call) -> {
              Object result = call.proceed();
              if (method.equals("close")) {
                throw new IllegalStateException("can't close");
              }
              return result;
            });
    assertThatThrownBy(
            () ->
                NcclExchange.connect(
                    host,
                    (backend, name, blocks, limit) -> {
                      throw new NoClassDefFoundError("planted");
                    },
                    backends.get(0),
                    TestNccl.star(2),
                    new int[] {0},
                    TestNccl.LIMIT))
        .isInstanceOf(NoClassDefFoundError.class)
        .satisfies(
            e ->
                assertThat(e.getSuppressed())
                    .singleElement()
                    .satisfies(late -> assertThat(late).hasMessage("can't close")));
  }

  @Test
  void rowsGoOneWayOnly() throws Exception {
    List<NcclExchange> members = connect(2);
    Tensor rows = rows(1);
    assertThatThrownBy(() -> members.get(1).channel("tokens").send(0, new int[0], rows))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContaining("rows flow from ranks [0] to ranks [1], not from rank 1 to rank 0");
    assertThatThrownBy(() -> new RowFlow("both", List.of(0, 1), List.of(1, 2)))
        .hasMessageContaining("On channel both rows flow one way");
    close(members);
  }

  /** A member that is told nothing. */
  private static Exchange deaf(Exchange inner) {
    return Intercepted.over(
        Exchange.class,
        inner,
        (method, arguments, call) ->
            Set.of("abort", "whenBroken").contains(method) ? null : call.proceed());
  }
}

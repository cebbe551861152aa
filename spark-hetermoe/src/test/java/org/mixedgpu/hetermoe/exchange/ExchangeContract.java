package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * What {@link Exchange} means; each implementation extends this. Each member has a backend of its
 * own. Rank 0 sends on the channel {@code tokens}, the others on {@code back}.
 */
@Timeout(60)
public abstract class ExchangeContract {
  static final ExchangeLimits LIMITS = new ExchangeLimits(1 << 20, Duration.ofSeconds(20));

  /** Of each lane in a test with lanes. */
  private static final int MESSAGES = 30;

  private final List<Exchange> members = new ArrayList<>();
  private final List<Tensor> tensors = new ArrayList<>();
  private final List<Backend> backends = new ArrayList<>();
  private ExecutorService threads;

  /** Connects as many members as there are backends, in rank order. */
  protected abstract List<? extends Exchange> connect(List<Backend> backends, ExchangeLimits limits)
      throws Exception;

  /** A member's backend, closed after each test. */
  protected Backend open(int rank) {
    return Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  }

  /** Members of tests that want more than two, where there can be so many. */
  protected int several() {
    return 3;
  }

  @BeforeEach
  void openThreads() {
    threads = Executors.newCachedThreadPool();
  }

  @AfterEach
  void closeAll() throws Exception {
    members.forEach(Exchange::close);
    threads.shutdownNow();
    assertThat(threads.awaitTermination(20, TimeUnit.SECONDS)).isTrue();
    tensors.forEach(Tensor::close);
    backends.forEach(Backend::close);
  }

  @Test
  void messagesOfAPeerArriveInOrderWithTheirHeaders() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(0, 4, 3);
    Tensor in = floats(1, 4, 3);
    Future<?> sender =
        run(
            () -> {
              for (int i = 0; i < 50; i++) {
                fill(0, out, i);
                // The tensor is written again at once: send has taken what it needs.
                channel(0).send(1, new int[] {i, -i}, out.rows(0, 1 + i % 4));
              }
              return null;
            });
    for (int i = 0; i < 50; i++) {
      Message message = channel(1).receive(0, in);
      assertThat(message.header()).containsExactly(i, -i);
      assertThat(message.rows()).isEqualTo(1 + i % 4);
      assertThat(first(1, in, (int) message.rows() * 3)).containsOnly(i);
    }
    sender.get();
  }

  @Test
  void zeroRowsAndAnEmptyHeaderAreMessagesToo() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(0, 2, 5);
    Tensor rows = floats(1, 2, 5);
    channel(0).send(1, new int[] {7}, out.rows(1, 0));
    channel(0).send(1, new int[0], out);
    Message none = channel(1).receive(0, rows);
    assertThat(none.header()).containsExactly(7);
    assertThat(none.rows()).isZero();
    Message both = channel(1).receive(0, rows);
    assertThat(both.header()).isEmpty();
    assertThat(both.rows()).isEqualTo(2);
  }

  @Test
  void rowsBeyondTheMessageKeepTheirContents() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(0, 1, 2);
    Tensor in = floats(1, 3, 2);
    fill(0, out, 1);
    fill(1, in, 9);
    channel(0).send(1, new int[0], out);
    channel(1).receive(0, in);
    assertThat(first(1, in, 6)).containsExactly(1, 1, 9, 9, 9, 9);
  }

  @Test
  void integersKeepTheirBits() throws Exception {
    open(2, LIMITS);
    Tensor out = tensor(0, DType.I32, Shape.of(3));
    Tensor in = tensor(1, DType.I32, Shape.of(3));
    ByteBuffer bytes = ByteBuffer.allocateDirect(12).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putInt(Integer.MIN_VALUE).putInt(-1).putInt(0x01020304).flip();
    backends.get(0).write(out, bytes);
    channel(0).send(1, new int[0], out);
    channel(1).receive(0, in);
    ByteBuffer got = ByteBuffer.allocateDirect(12).order(ByteOrder.LITTLE_ENDIAN);
    backends.get(1).read(got, in);
    assertThat(got.getInt(0)).isEqualTo(Integer.MIN_VALUE);
    assertThat(got.getInt(4)).isEqualTo(-1);
    assertThat(got.getInt(8)).isEqualTo(0x01020304);
  }

  @Test
  void aReceiverOfAnotherTypeWidthOrSizeIsToldBothAndMayAskAgain() throws Exception {
    open(2, LIMITS);
    Tensor rows = floats(0, 2, 3);
    Future<?> sender =
        run(
            () -> {
              for (int i = 0; i < 3; i++) {
                channel(0).send(1, new int[] {i}, rows);
              }
              return null;
            });
    List<Tensor> wrongs =
        List.of(tensor(1, DType.I32, Shape.of(2, 3)), floats(1, 2, 4), floats(1, 1, 3));
    for (Tensor wrong : wrongs) {
      assertFault(Fault.BAD_INPUT, () -> channel(1).receive(0, wrong))
          .hasMessageContaining("2 rows of 3 F32")
          .hasMessageContaining(wrong.shape().toString());
    }
    Tensor right = floats(1, 2, 3);
    for (int i = 0; i < 3; i++) {
      assertThat(channel(1).receive(0, right).header()).containsExactly(i);
    }
    sender.get();
  }

  @Test
  void aMemberIsNoPeerOfItself() throws Exception {
    open(2, LIMITS);
    Tensor rows = floats(0, 1, 1);
    assertFault(Fault.BAD_INPUT, () -> channel(0).send(0, new int[0], rows));
    assertFault(Fault.BAD_INPUT, () -> channel(0).receive(2, rows));
  }

  @Test
  void anAbortWakesBlockedReceiversOfAllMembersWithItsReason() throws Exception {
    int size = several();
    open(size, LIMITS);
    List<Future<?>> blocked = new ArrayList<>();
    for (int rank = 1; rank < size; rank++) {
      Channel channel = channel(rank);
      Tensor rows = floats(rank, 1, 1);
      blocked.add(run(() -> channel.receive(0, rows)));
    }
    Thread.sleep(100);
    members.get(0).abort("rank 0 has no more memory");
    for (Future<?> receiver : blocked) {
      assertAborted(receiver, "rank 0 has no more memory");
    }
    // The first reason stays.
    members.get(1).abort("a later reason");
    for (int rank = 0; rank < size; rank++) {
      Tensor rows = floats(rank, 1, 1);
      int peer = (rank + 1) % size;
      Channel channel = channel(rank);
      assertAborted(run(() -> channel.receive(peer, rows)), "rank 0 has no more memory");
      assertAborted(
          run(
              () -> {
                channel.send(peer, new int[0], rows);
                return null;
              }),
          "rank 0 has no more memory");
    }
  }

  @Test
  void listenersHearOfAnAbortOnceWhenItComesOrLater() throws Exception {
    open(2, LIMITS);
    List<String> early = new CopyOnWriteArrayList<>();
    members.get(1).whenBroken(early::add);
    members.get(0).abort("rank 0 has no more memory");
    while (early.isEmpty()) {
      Thread.sleep(10);
    }
    members.get(1).abort("a later reason");
    List<String> late = new CopyOnWriteArrayList<>();
    members.get(1).whenBroken(late::add);
    assertThat(early).containsExactly("rank 0 has no more memory");
    assertThat(late).containsExactly("rank 0 has no more memory");
  }

  @Test
  void anAbortWakesABlockedSender() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(0, 256, 1024);
    Future<?> sender =
        run(
            () -> {
              while (true) {
                channel(0).send(1, new int[0], out);
              }
            });
    Thread.sleep(200);
    members.get(1).abort("stop");
    assertAborted(sender, "stop");
  }

  @Test
  void waitingTooLongNamesPeerChannelAndLimit() throws Exception {
    open(2, new ExchangeLimits(1 << 20, Duration.ofMillis(200)));
    Tensor rows = floats(1, 1, 1);
    assertFault(Fault.EXHAUSTED, () -> channel(1).receive(0, rows))
        .hasMessageContaining("200 ms")
        .hasMessageContaining("rank 0")
        .hasMessageContaining("tokens");
  }

  /** A peer may load or save for longer than any message takes. */
  @Test
  void awaitingHasNoTimeLimitAndEndsWithTheExchange() throws Exception {
    open(2, new ExchangeLimits(1 << 20, Duration.ofMillis(200)));
    Tensor rows = floats(1, 1, 1);
    Future<?> awaiting =
        run(
            () -> {
              channel(1).await(0);
              channel(1).await(0);
              return channel(1).receive(0, rows);
            });
    Thread.sleep(600);
    assertThat(awaiting.isDone()).isFalse();
    channel(0).send(1, new int[] {3}, floats(0, 1, 1));
    assertThat(((Message) awaiting.get()).header()).containsExactly(3);
    Future<?> inVain =
        run(
            () -> {
              channel(1).await(0);
              return null;
            });
    Thread.sleep(100);
    members.get(0).abort("rank 0 can't load");
    assertAborted(inVain, "rank 0 can't load");
  }

  @Test
  void aPeerThatLeftIsReportedAsLost() throws Exception {
    open(2, LIMITS);
    Tensor rows = floats(1, 1, 1);
    channel(0).send(1, new int[] {3}, floats(0, 1, 1));
    assertThat(channel(1).receive(0, rows).header()).containsExactly(3);
    Future<?> blocked = run(() -> channel(1).receive(0, rows));
    Thread.sleep(100);
    members.get(0).close();
    assertThatThrownBy(blocked::get)
        .cause()
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
        .hasMessageContaining("rank 0");
  }

  /** As dispatch and combine: rank 0 and the others send at the same time, each on its channel. */
  @Test
  void channelsOfBothWaysDontWaitForEachOther() throws Exception {
    int size = several();
    open(size, LIMITS);
    List<Lane> lanes = new ArrayList<>();
    for (int peer = 1; peer < size; peer++) {
      int other = peer;
      lanes.add(sending(other, "back", List.of(0)));
      lanes.add(receiving(other, "tokens", List.of(0)));
    }
    List<Integer> others = RowFlow.ranks(1, size);
    lanes.add(sending(0, "tokens", others));
    lanes.add(receiving(0, "back", others));
    lanes.forEach(Lane::synchronize);
    lanes.forEach(Lane::close);
  }

  private Lane sending(int rank, String channel, List<Integer> to) {
    Lane lane = backends.get(rank).urgentLane("sending");
    Tensor rows = floats(rank, 70, 1024);
    for (int i = 0; i < MESSAGES; i++) {
      int message = i;
      lane.submit(
          () -> {
            backends.get(rank).fill(rows, 100 * rank + message);
            for (int peer : to) {
              member(rank).channel(channel).send(peer, new int[] {message}, rows);
            }
          });
    }
    return lane;
  }

  private Lane receiving(int rank, String channel, List<Integer> from) {
    Lane lane = backends.get(rank).urgentLane("receiving");
    Tensor rows = floats(rank, 70, 1024);
    for (int i = 0; i < MESSAGES; i++) {
      int message = i;
      lane.submit(
          () -> {
            for (int peer : from) {
              assertThat(member(rank).channel(channel).receive(peer, rows).header())
                  .containsExactly(message);
              assertThat(first(rank, rows, 70 * 1024)).containsOnly(100 * peer + message);
            }
          });
    }
    return lane;
  }

  void open(int size, ExchangeLimits limits) throws Exception {
    for (int rank = 0; rank < size; rank++) {
      backends.add(open(rank));
    }
    members.addAll(connect(backends, limits));
    for (int rank = 0; rank < size; rank++) {
      assertThat(members.get(rank).rank()).isEqualTo(rank);
      assertThat(members.get(rank).size()).isEqualTo(size);
    }
  }

  Exchange member(int rank) {
    return members.get(rank);
  }

  Channel channel(int rank) {
    return members.get(rank).channel("tokens");
  }

  Future<?> run(Callable<?> work) {
    return threads.submit(work);
  }

  /** Of a member's backend. */
  Tensor floats(int rank, long rows, long columns) {
    return tensor(rank, DType.F32, Shape.of(rows, columns));
  }

  private Tensor tensor(int rank, DType type, Shape shape) {
    Tensor tensor = backends.get(rank).allocate(type, shape);
    synchronized (tensors) {
      tensors.add(tensor);
    }
    return tensor;
  }

  void fill(int rank, Tensor tensor, float value) {
    backends.get(rank).fill(tensor, value);
    backends.get(rank).synchronize();
  }

  float[] first(int rank, Tensor tensor, int elements) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    backends.get(rank).read(bytes, tensor);
    float[] values = new float[elements];
    bytes.clear();
    bytes.asFloatBuffer().get(values);
    return values;
  }

  private static void assertAborted(Future<?> call, String reason) throws Exception {
    try {
      call.get(10, TimeUnit.SECONDS);
    } catch (ExecutionException e) {
      assertThat(e.getCause())
          .isInstanceOf(ExchangeAbortedException.class)
          .hasMessageContaining(reason);
      return;
    }
    throw new AssertionError("The call was not aborted");
  }

  private static AbstractThrowableAssert<?, ?> assertFault(Fault fault, ThrowingCallable call) {
    return assertThatThrownBy(call)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(fault));
  }
}

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
import java.util.concurrent.atomic.AtomicInteger;
import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** What {@link Exchange} means; each implementation extends this. */
@Timeout(60)
public abstract class ExchangeContract {
  private static final ExchangeLimits LIMITS = new ExchangeLimits(1 << 20, Duration.ofSeconds(20));

  private final List<Exchange> members = new ArrayList<>();
  private final List<Tensor> tensors = new ArrayList<>();
  private Backend backend;
  private ExecutorService threads;

  /** Connects members 0, 1, … in rank order; all use the same backend. */
  protected abstract List<? extends Exchange> connect(
      int size, Backend backend, ExchangeLimits limits) throws Exception;

  /** The backend of all members, closed after each test. */
  protected Backend open() {
    return Backends.cpu(new CpuOptions(1, Long.MAX_VALUE));
  }

  @BeforeEach
  void openBackend() {
    backend = open();
    threads = Executors.newCachedThreadPool();
  }

  @AfterEach
  void closeAll() throws Exception {
    members.forEach(Exchange::close);
    threads.shutdownNow();
    assertThat(threads.awaitTermination(20, TimeUnit.SECONDS)).isTrue();
    tensors.forEach(Tensor::close);
    backend.close();
  }

  @Test
  void messagesOfAPeerArriveInOrderWithTheirHeaders() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(4, 3);
    Tensor in = floats(4, 3);
    Future<?> sender =
        run(
            () -> {
              for (int i = 0; i < 50; i++) {
                fill(out, i);
                // The tensor is written again at once: send has taken what it needs.
                channel(0).send(1, new int[] {i, -i}, out.rows(0, 1 + i % 4));
              }
              return null;
            });
    for (int i = 0; i < 50; i++) {
      Message message = channel(1).receive(0, in);
      assertThat(message.header()).containsExactly(i, -i);
      assertThat(message.rows()).isEqualTo(1 + i % 4);
      assertThat(first(in, (int) message.rows() * 3)).containsOnly(i);
    }
    sender.get();
  }

  @Test
  void zeroRowsAndAnEmptyHeaderAreMessagesToo() throws Exception {
    open(2, LIMITS);
    Tensor rows = floats(2, 5);
    channel(0).send(1, new int[] {7}, rows.rows(1, 0));
    channel(0).send(1, new int[0], rows);
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
    Tensor out = floats(1, 2);
    Tensor in = floats(3, 2);
    fill(out, 1);
    fill(in, 9);
    channel(0).send(1, new int[0], out);
    channel(1).receive(0, in);
    assertThat(first(in, 6)).containsExactly(1, 1, 9, 9, 9, 9);
  }

  @Test
  void integersKeepTheirBits() throws Exception {
    open(2, LIMITS);
    Tensor out = tensor(DType.I32, Shape.of(3));
    Tensor in = tensor(DType.I32, Shape.of(3));
    ByteBuffer bytes = ByteBuffer.allocateDirect(12).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putInt(Integer.MIN_VALUE).putInt(-1).putInt(0x01020304).flip();
    backend.write(out, bytes);
    channel(0).send(1, new int[0], out);
    channel(1).receive(0, in);
    ByteBuffer got = ByteBuffer.allocateDirect(12).order(ByteOrder.LITTLE_ENDIAN);
    backend.read(got, in);
    assertThat(got.getInt(0)).isEqualTo(Integer.MIN_VALUE);
    assertThat(got.getInt(4)).isEqualTo(-1);
    assertThat(got.getInt(8)).isEqualTo(0x01020304);
  }

  @Test
  void aMessageLargerThanTheQueuePassesWithoutAReceiver() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(3000, 1024);
    Tensor in = floats(3000, 1024);
    fill(out, 5);
    // Both send before either receives: as in the all-reduce.
    Future<?> other =
        run(
            () -> {
              channel(1).send(0, new int[] {1}, out);
              return null;
            });
    channel(0).send(1, new int[] {0}, out);
    other.get();
    assertThat(channel(0).receive(1, in).header()).containsExactly(1);
    assertThat(channel(1).receive(0, in).header()).containsExactly(0);
    assertThat(first(in, 3000 * 1024)).containsOnly(5);
  }

  @Test
  void aFullQueueHoldsTheSenderUntilTheReceiverTakes() throws Exception {
    open(2, LIMITS);
    Tensor out = floats(128, 1024);
    AtomicInteger sent = new AtomicInteger();
    Future<?> sender =
        run(
            () -> {
              for (int i = 0; i < 64; i++) {
                channel(0).send(1, new int[] {i}, out);
                sent.incrementAndGet();
              }
              return null;
            });
    int before = -1;
    while (sent.get() != before) {
      before = sent.get();
      Thread.sleep(300);
    }
    assertThat(before).isLessThan(64);
    // Another channel does not wait for the full one.
    members.get(0).channel("other").send(1, new int[] {1}, out);
    assertThat(members.get(1).channel("other").receive(0, out).header()).containsExactly(1);
    for (int i = 0; i < 64; i++) {
      assertThat(channel(1).receive(0, out).header()).containsExactly(i);
    }
    sender.get();
  }

  @Test
  void aReceiverOfAnotherTypeWidthOrSizeIsToldBoth() throws Exception {
    open(2, LIMITS);
    Tensor rows = floats(2, 3);
    for (Tensor wrong : List.of(tensor(DType.I32, Shape.of(2, 3)), floats(2, 4), floats(1, 3))) {
      channel(0).send(1, new int[0], rows);
      assertFault(Fault.BAD_INPUT, () -> channel(1).receive(0, wrong))
          .hasMessageContaining("2 rows of 3 F32")
          .hasMessageContaining(wrong.shape().toString());
    }
  }

  @Test
  void aMemberIsNoPeerOfItself() throws Exception {
    open(2, LIMITS);
    Tensor rows = floats(1, 1);
    assertFault(Fault.BAD_INPUT, () -> channel(0).send(0, new int[0], rows));
    assertFault(Fault.BAD_INPUT, () -> channel(0).receive(2, rows));
  }

  @Test
  void anAbortWakesBlockedReceiversOfAllMembersWithItsReason() throws Exception {
    open(3, LIMITS);
    List<Future<?>> blocked = new ArrayList<>();
    for (int rank = 1; rank < 3; rank++) {
      Channel channel = channel(rank);
      Tensor rows = floats(1, 1);
      blocked.add(run(() -> channel.receive(0, rows)));
    }
    Thread.sleep(100);
    members.get(0).abort("rank 0 has no more memory");
    for (Future<?> receiver : blocked) {
      assertAborted(receiver, "rank 0 has no more memory");
    }
    Tensor rows = floats(1, 1);
    // The first reason stays.
    members.get(1).abort("a later reason");
    for (int rank = 0; rank < 3; rank++) {
      int peer = (rank + 1) % 3;
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
    Tensor out = floats(256, 1024);
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
    Tensor rows = floats(1, 1);
    assertFault(Fault.EXHAUSTED, () -> channel(1).receive(0, rows))
        .hasMessageContaining("200 ms")
        .hasMessageContaining("rank 0")
        .hasMessageContaining("tokens");
  }

  @Test
  void aPeerThatLeftIsReportedAsLost() throws Exception {
    open(2, LIMITS);
    Tensor rows = floats(1, 1);
    channel(0).send(1, new int[] {3}, rows);
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

  @Test
  void manyChannelsBetweenAllMembersKeepTheirMessagesApart() throws Exception {
    int size = 3;
    int channels = 6;
    int messages = 40;
    open(size, LIMITS);
    List<Future<?>> all = new ArrayList<>();
    for (int rank = 0; rank < size; rank++) {
      for (int c = 0; c < channels; c++) {
        int from = rank;
        int of = c;
        Channel channel = members.get(rank).channel("channel-" + c);
        Tensor out = floats(7, 33);
        Tensor in = floats(7, 33);
        all.add(
            run(
                () -> {
                  for (int i = 0; i < messages; i++) {
                    fill(out, 1000 * of + 100 * from + i);
                    for (int to = 0; to < size; to++) {
                      if (to != from) {
                        channel.send(to, new int[] {of, from, to, i}, out);
                      }
                    }
                  }
                  return null;
                }));
        all.add(
            run(
                () -> {
                  for (int i = 0; i < messages; i++) {
                    for (int peer = 0; peer < size; peer++) {
                      if (peer != from) {
                        assertThat(channel.receive(peer, in).header())
                            .containsExactly(of, peer, from, i);
                        assertThat(first(in, 7 * 33)).containsOnly(1000 * of + 100 * peer + i);
                      }
                    }
                  }
                  return null;
                }));
      }
    }
    for (Future<?> each : all) {
      each.get();
    }
  }

  private void open(int size, ExchangeLimits limits) throws Exception {
    members.addAll(connect(size, backend, limits));
    for (int rank = 0; rank < size; rank++) {
      assertThat(members.get(rank).rank()).isEqualTo(rank);
      assertThat(members.get(rank).size()).isEqualTo(size);
    }
  }

  private Channel channel(int rank) {
    return members.get(rank).channel("tokens");
  }

  private Future<?> run(Callable<?> work) {
    return threads.submit(work);
  }

  private Tensor floats(long rows, long columns) {
    return tensor(DType.F32, Shape.of(rows, columns));
  }

  private Tensor tensor(DType type, Shape shape) {
    Tensor tensor = backend.allocate(type, shape);
    synchronized (tensors) {
      tensors.add(tensor);
    }
    return tensor;
  }

  private void fill(Tensor tensor, float value) {
    backend.fill(tensor, value);
    backend.synchronize();
  }

  private float[] first(Tensor tensor, int elements) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    backend.read(bytes, tensor);
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

package org.mixedgpu.backend.emulated;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.backend.HostLane;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.ReferenceBackend;
import org.mixedgpu.backend.Stamp;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

class EmulatedBackendTest {
  private static final Set<String> ATTENTION = Set.of("attention", "attentionBackward");
  private static final Set<String> EXPERTS =
      Set.of("matmul", "groupedMatmul", "groupedMatmulWeightGradient");

  /** Not ops: they take as long as they take. */
  private static final Set<String> FREE =
      Set.of(
          "name",
          "kind",
          "computeType",
          "allocate",
          "memoryUse",
          "write",
          "read",
          "lane",
          "stamp",
          "urgentLane",
          "synchronize",
          "close");

  /** Time that only passes when somebody says so. */
  private static final class FakeTime implements Stopwatch {
    private long now;
    private final List<Long> waits = new ArrayList<>();
    private long oversleep;

    @Override
    public long nanos() {
      return now;
    }

    @Override
    public void pass(long nanos) {
      waits.add(nanos);
      now += nanos + oversleep;
    }
  }

  /** A backend each of whose ops takes this long and does nothing else. */
  private static TrainingBackend taking(FakeTime time, long nanos, List<String> calls) {
    return (TrainingBackend)
        Proxy.newProxyInstance(
            EmulatedBackendTest.class.getClassLoader(),
            new Class<?>[] {TrainingBackend.class},
            (proxy, method, arguments) -> {
              if (!FREE.contains(method.getName())) {
                calls.add(method.getName());
                time.now += nanos;
              }
              return method.getReturnType() == String.class ? "fake" : null;
            });
  }

  private static void call(TrainingBackend backend, Method op)
      throws IllegalAccessException, InvocationTargetException {
    Object[] arguments =
        Arrays.stream(op.getParameterTypes()).map(EmulatedBackendTest::zero).toArray();
    op.invoke(backend, arguments);
  }

  private static Object zero(Class<?> type) {
    if (type == boolean.class) {
      return false;
    }
    if (type == int.class) {
      return 0;
    }
    if (type == float.class) {
      return 0f;
    }
    return type == Transpose.class ? Transpose.NN : null;
  }

  @Test
  void everyOpTakesTheFactorOfItsKind() throws ReflectiveOperationException {
    int ops = 0;
    for (Method op : TrainingBackend.class.getMethods()) {
      if (FREE.contains(op.getName())) {
        continue;
      }
      FakeTime time = new FakeTime();
      List<String> calls = new ArrayList<>();
      TrainingBackend emulated =
          new EmulatedBackend(
              taking(time, 1_000_000, calls), "volta", new Slowdown(3.5, 1.25, 2), time);
      call(emulated, op);
      double factor =
          ATTENTION.contains(op.getName()) ? 3.5 : EXPERTS.contains(op.getName()) ? 1.25 : 2;
      assertThat(time.now).as(op.getName()).isEqualTo((long) (1_000_000 * factor));
      assertThat(calls).as(op.getName()).containsExactly(op.getName());
      ops++;
    }
    assertThat(ops).isGreaterThan(28);
  }

  @Test
  void lateWaitsAreTakenOffTheNext() {
    FakeTime time = new FakeTime();
    time.oversleep = 70_000;
    TrainingBackend emulated =
        new EmulatedBackend(
            taking(time, 40_000, new ArrayList<>()), "volta", new Slowdown(1, 3, 1), time);
    for (int i = 0; i < 1000; i++) {
      emulated.matmul(null, null, null, Transpose.NT, 0);
    }
    // 1000 · 40 µs · 3, but for what one wait may be off.
    assertThat(time.now).isBetween(119_800_000L, 120_200_000L);
    assertThat(time.waits).hasSizeLessThan(1000);
  }

  @Test
  void aLongStallIsNotMadeUpFor() {
    FakeTime time = new FakeTime();
    time.oversleep = 10_000_000_000L;
    TrainingBackend emulated =
        new EmulatedBackend(
            taking(time, 1_000_000, new ArrayList<>()), "volta", new Slowdown(1, 2, 1), time);
    emulated.matmul(null, null, null, Transpose.NT, 0);
    time.oversleep = 0;
    long start = time.now;
    for (int i = 0; i < 1000; i++) {
      emulated.matmul(null, null, null, Transpose.NT, 0);
    }
    assertThat(time.now - start).isBetween(1_940_000_000L, 2_000_000_000L);
  }

  /** A GPU: an op is queued when it returns, and takes its time until somebody waits. */
  private static TrainingBackend queueing(FakeTime time, long nanos, Lane lane) {
    long[] queued = new long[1];
    return (TrainingBackend)
        Proxy.newProxyInstance(
            EmulatedBackendTest.class.getClassLoader(),
            new Class<?>[] {TrainingBackend.class},
            (proxy, method, arguments) -> {
              switch (method.getName()) {
                case "kind":
                  return BackendKind.CUDA;
                case "lane":
                  return lane;
                case "synchronize":
                  time.now += queued[0];
                  queued[0] = 0;
                  return null;
                default:
                  queued[0] += nanos;
                  return null;
              }
            });
  }

  @Test
  void aQueuedOpsTimeIsItsOwn() {
    FakeTime time = new FakeTime();
    TrainingBackend emulated =
        new EmulatedBackend(
            queueing(time, 1_000_000, null), "volta", new Slowdown(4, 1.5, 1), time);
    emulated.matmul(null, null, null, Transpose.NT, 0);
    assertThat(time.now).isEqualTo(1_500_000);
    // Takes no longer than it takes, and must not count for the next.
    emulated.fill(null, 0);
    assertThat(time.now).isEqualTo(2_500_000);
    emulated.attention(null, null, null, null, null, null);
    assertThat(time.now).isEqualTo(6_500_000);
  }

  @Test
  void stampsAreOfTheEmulatedTime() {
    FakeTime time = new FakeTime();
    TrainingBackend emulated =
        new EmulatedBackend(
            queueing(time, 1_000_000, null), "volta", new Slowdown(4, 1.5, 1), time);
    Stamp start = emulated.stamp();
    emulated.attention(null, null, null, null, null, null);
    Stamp attended = emulated.stamp();
    assertThat(attended.nanosSince(start)).isEqualTo(4_000_000);
    // Queued, and not waited for as an op is.
    emulated.write(null, null);
    assertThat(emulated.stamp().nanosSince(attended)).isEqualTo(1_000_000);
  }

  @Test
  void aQueueingLaneWaitsForOthersBeforeItsNextOp() {
    try (HostLane inner = new HostLane("compute");
        HostLane other = new HostLane("dispatch")) {
      List<String> waits = new ArrayList<>();
      // As a stream's wait, which the lane's thread does not notice.
      Lane stream =
          Intercepted.over(
              Lane.class,
              inner,
              (method, arguments, call) -> {
                waits.add(method);
                return call.proceed();
              });
      TrainingBackend emulated =
          new EmulatedBackend(
              queueing(new FakeTime(), 1, stream), "volta", Slowdown.NONE, Stopwatch.SYSTEM);
      Lane lane = emulated.lane("compute");
      CountDownLatch go = new CountDownLatch(1);
      other.submit(() -> awaitUninterruptibly(go));
      lane.await(other.record());
      AtomicBoolean early = new AtomicBoolean();
      lane.submit(() -> early.set(go.getCount() > 0));
      go.countDown();
      lane.synchronize();
      assertThat(early).isFalse();
      assertThat(waits).doesNotContain("await");
    }
  }

  private static void awaitUninterruptibly(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void resultsAndMemoryAreTheInnerBackends() {
    ReferenceBackend inner = new ReferenceBackend();
    try (Backend emulated = new EmulatedBackend(inner, "volta", Slowdown.V100_BEHIND_A40);
        Tensor x = emulated.allocate(DType.F32, Shape.of(3))) {
      emulated.fill(x, 2f);
      emulated.add(x, x, x);
      assertThat(((HostTensor) x).f32(2)).isEqualTo(4f);
      assertThat(emulated.memoryUse()).isEqualTo(inner.memoryUse());
      assertThat(emulated.name()).isEqualTo("emulated volta on " + inner.name());
      assertThat(emulated.kind()).isEqualTo(BackendKind.REFERENCE);
    }
  }

  @Test
  void realTimePassesToo() {
    TrainingBackend sleeping =
        (TrainingBackend)
            Proxy.newProxyInstance(
                EmulatedBackendTest.class.getClassLoader(),
                new Class<?>[] {TrainingBackend.class},
                (proxy, method, arguments) -> {
                  Thread.sleep(2);
                  return null;
                });
    TrainingBackend emulated =
        new EmulatedBackend(sleeping, "turing", new Slowdown(1, 3, 1), Stopwatch.SYSTEM);
    long start = System.nanoTime();
    for (int i = 0; i < 20; i++) {
      emulated.matmul(null, null, null, Transpose.NT, 0);
    }
    // 20 ops of at least 2 ms, three times as long, less what the last wait may still be owed.
    assertThat(System.nanoTime() - start).isGreaterThan(110_000_000L);
  }

  @Test
  void fasterThanRealIsRefused() {
    assertThatThrownBy(() -> new Slowdown(1, 0.9, 1)).hasMessageContaining("experts 0.9");
  }
}

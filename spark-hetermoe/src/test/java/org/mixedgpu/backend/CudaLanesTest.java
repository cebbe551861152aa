package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** Streams, memory and errors of a real GPU: what the contract cannot ask of a CPU. */
@Tag("gpu")
@Timeout(60)
class CudaLanesTest {
  private static final int BUSY = 4096;

  @TempDir static Path cache;

  private final List<Tensor> open = new ArrayList<>();
  private TrainingBackend backend;

  @BeforeEach
  void open() {
    backend = cuda(Long.MAX_VALUE);
  }

  @AfterEach
  void close() {
    open.forEach(Tensor::close);
    backend.close();
  }

  private static TrainingBackend cuda(long memoryLimitBytes) {
    return Backends.cuda(new CudaOptions("0", DType.F32, memoryLimitBytes, cache));
  }

  private Tensor f32(long... dims) {
    Tensor tensor = backend.allocate(DType.F32, Shape.of(dims));
    open.add(tensor);
    return tensor;
  }

  /** Some ten milliseconds of the GPU's time. */
  private final class Work {
    private final Tensor a = f32(BUSY, BUSY);
    private final Tensor b = f32(BUSY, BUSY);

    void queue() {
      for (int i = 0; i < 4; i++) {
        backend.matmul(b, a, a, Transpose.NN, 0f);
      }
    }
  }

  @Test
  void whatALaneWaitsForComesBeforeWhatItSubmits() {
    Work work = new Work();
    Tensor x = f32(1000);
    Tensor y = f32(1000);
    // Kernels are compiled before it counts.
    work.queue();
    backend.fill(x, 1);
    backend.copy(y, x);
    backend.synchronize();
    try (Lane slow = backend.lane("slow");
        Lane waiting = backend.lane("waiting");
        Lane third = backend.lane("third")) {
      slow.submit(
          () -> {
            work.queue();
            backend.fill(x, 7);
          });
      waiting.await(slow.record());
      waiting.submit(() -> third.submit(() -> backend.copy(y, x)));
      waiting.synchronize();
      third.synchronize();
      assertThat(OpComparison.readFloats(backend, y)).containsOnly(7);
    }
  }

  @Test
  void anEventOrdersTheDeviceAndNotOnlyTheHost() {
    Work work = new Work();
    Tensor x = f32(1000);
    Tensor y = f32(1000);
    try (Lane first = backend.lane("first");
        Lane second = backend.lane("second")) {
      for (int i = 1; i <= 5; i++) {
        int value = i;
        first.submit(
            () -> {
              work.queue();
              backend.fill(x, value);
            });
        second.await(first.record());
        second.submit(() -> backend.copy(y, x));
        first.await(second.record());
        second.synchronize();
        assertThat(OpComparison.readFloats(backend, y)).containsOnly(value);
      }
    }
  }

  /** The host has queued the work long before the device has done it; stamps tell the latter. */
  @Test
  void aStampIsOfTheDevicesTimeAndNotOfTheHosts() {
    Work work = new Work();
    Stamp[] stamps = new Stamp[2];
    long[] queueing = new long[1];
    try (Lane lane = backend.lane("lane")) {
      lane.submit(work::queue);
      lane.synchronize();
      lane.submit(
          () -> {
            long start = System.nanoTime();
            stamps[0] = backend.stamp();
            work.queue();
            stamps[1] = backend.stamp();
            queueing[0] = System.nanoTime() - start;
          });
      lane.synchronize();
    }
    assertThat(stamps[1].nanosSince(stamps[0])).isGreaterThan(5 * queueing[0]);
    stamps[0].close();
    stamps[1].close();
  }

  @Test
  void waitingForAnotherLaneIsNotBetweenATasksStamps() {
    Work work = new Work();
    Tensor x = f32(1000);
    Stamp[] long1 = new Stamp[2];
    Stamp[] short2 = new Stamp[2];
    try (Lane first = backend.lane("first");
        Lane second = backend.lane("second")) {
      for (int round = 0; round < 2; round++) {
        first.submit(() -> stamped(long1, work::queue));
        second.await(first.record());
        second.submit(() -> stamped(short2, () -> backend.fill(x, 1f)));
        second.synchronize();
      }
    }
    long waited = long1[1].nanosSince(long1[0]);
    assertThat(short2[0].nanosSince(long1[1])).isNotNegative();
    assertThat(short2[1].nanosSince(short2[0])).isLessThan(waited / 5);
    for (Stamp[] both : new Stamp[][] {long1, short2}) {
      both[0].close();
      both[1].close();
    }
  }

  private void stamped(Stamp[] into, Runnable work) {
    for (Stamp before : into) {
      if (before != null) {
        before.close();
      }
    }
    into[0] = backend.stamp();
    work.run();
    into[1] = backend.stamp();
  }

  @Test
  void aStampOfAnotherBackendOrAClosedOneIsRefused() {
    Stamp own = backend.stamp();
    try (TrainingBackend other = cuda(Long.MAX_VALUE)) {
      Stamp theirs = other.stamp();
      assertThatThrownBy(() -> own.nanosSince(theirs)).hasMessageContaining("same backend");
      theirs.close();
    }
    Stamp later = backend.stamp();
    own.close();
    assertThatThrownBy(() -> later.nanosSince(own)).hasMessageContaining("closed");
    later.close();
  }

  @Test
  void whatTheSubmitterHasQueuedComesFirst() {
    Work work = new Work();
    Tensor x = f32(1000);
    Tensor y = f32(1000);
    try (Lane lane = backend.lane("lane")) {
      for (int i = 1; i <= 5; i++) {
        work.queue();
        backend.fill(x, i);
        lane.submit(() -> backend.copy(y, x));
        lane.synchronize();
        assertThat(OpComparison.readFloats(backend, y)).containsOnly(i);
      }
    }
  }

  /** Each product fills the GPU, and they are queued first. */
  @Test
  void anUrgentLaneDoesNotWaitForABusyOne() {
    Work work = new Work();
    Tensor x = f32(1 << 20);
    work.queue();
    // Compiled before it is urgent.
    backend.fill(x, 1);
    backend.synchronize();
    try (Lane busy = backend.lane("busy");
        Lane urgent = backend.urgentLane("urgent")) {
      busy.submit(
          () -> {
            for (int i = 0; i < 20; i++) {
              work.queue();
            }
          });
      Event busyEnd = busy.record();
      busyEndIsQueued(busy);
      urgent.submit(() -> backend.fill(x, 7));
      urgent.synchronize();
      assertThat(busyEnd.reached()).isFalse();
      busy.synchronize();
      assertThat(OpComparison.readFloats(backend, x)).containsOnly(7);
    }
  }

  /** The lane's thread has queued all. */
  private static void busyEndIsQueued(Lane lane) {
    CountDownLatch queued = new CountDownLatch(1);
    lane.submit(queued::countDown);
    try {
      queued.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Memory that one lane allocates and another uses last and closes, over and over. */
  @Test
  void memoryIsNotReusedBeforeItsLastUse() {
    int rounds = 200;
    int elements = 1 << 20;
    Tensor results = f32(rounds, elements);
    try (Lane maker = backend.lane("maker");
        Lane user = backend.lane("user")) {
      for (int i = 0; i < rounds; i++) {
        int round = i;
        Tensor[] passed = new Tensor[1];
        maker.submit(
            () -> {
              passed[0] = backend.allocate(DType.F32, Shape.of(elements));
              backend.fill(passed[0], round + 1);
            });
        user.await(maker.record());
        user.submit(
            () -> {
              backend.copy(results.rows(round, 1).view(Shape.of(elements)), passed[0]);
              passed[0].close();
            });
      }
    }
    Tensor sums = f32(elements);
    Tensor ones = f32(1, rounds);
    backend.fill(ones, 1f);
    backend.matmul(sums.view(Shape.of(1, elements)), ones, results, Transpose.NN, 0f);
    assertThat(OpComparison.readFloats(backend, sums)).containsOnly(rounds * (rounds + 1) / 2f);
    for (int i = 0; i < rounds; i += 37) {
      Tensor row = results.rows(i, 1).view(Shape.of(elements));
      assertThat(OpComparison.readFloats(backend, row)).containsOnly(i + 1);
    }
  }

  /** Zeros that the default lane writes are there for a lane that uses the tensor at once. */
  @Test
  void aNewTensorIsZeroOnEveryLane() {
    Work work = new Work();
    try (Lane lane = backend.lane("lane")) {
      for (int i = 0; i < 20; i++) {
        try (Tensor dirty = backend.allocate(DType.F32, Shape.of(1 << 20))) {
          backend.fill(dirty, 7f);
        }
        work.queue();
        Tensor fresh = f32(1 << 20);
        Tensor y = f32(1 << 20);
        lane.submit(() -> backend.copy(y, fresh));
        lane.synchronize();
        assertThat(OpComparison.readFloats(backend, y)).containsOnly(0f);
      }
    }
  }

  @Test
  void largeBuffersGoThroughStagingInParts() {
    int elements = (70 << 20) / 4 + 3;
    Tensor x = f32(elements);
    Random random = new Random(5);
    ByteBuffer sent = ByteBuffer.allocateDirect(elements * 4).order(ByteOrder.LITTLE_ENDIAN);
    while (sent.hasRemaining()) {
      sent.putInt(random.nextInt());
    }
    backend.write(x, sent.flip());
    assertThat(sent.hasRemaining()).isFalse();
    ByteBuffer got = ByteBuffer.allocate(elements * 4);
    backend.read(got, x);
    assertThat(got.hasRemaining()).isFalse();
    assertThat(got.flip()).isEqualTo(sent.flip());
    ByteBuffer small = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    backend.write(x.rows(elements - 2, 2), small.putFloat(1f).putFloat(2f).flip());
    assertThat(OpComparison.readFloats(backend, x.rows(elements - 2, 2))).containsExactly(1f, 2f);
  }

  @Test
  void scratchMemoryFallsUnderTheLimit() {
    try (TrainingBackend small = cuda(8 << 20);
        Tensor x = small.allocate(DType.F32, Shape.of(64, 64));
        Tensor y = small.allocate(DType.F32, Shape.of(64, 64))) {
      assertThatThrownBy(() -> small.matmul(y, x, x, Transpose.NN, 0f))
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED))
          .hasMessageContainingAll("scratch memory", "8388608 bytes", "2 tensors");
      small.fill(x, 1f);
      assertThat(OpComparison.readFloats(small, x)).containsOnly(1f);
    }
  }

  @Test
  void moreThanTheGpuHasIsExhaustedAndLeavesItUsable() {
    long most = backend.memoryUse().limitBytes() / 4;
    try (Tensor half = backend.allocate(DType.F32, Shape.of(most / 2))) {
      assertThatThrownBy(() -> backend.allocate(DType.F32, Shape.of(most - most / 2)))
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.EXHAUSTED))
          .hasMessageContaining("bytes");
      assertThat(backend.memoryUse().bytes()).isEqualTo(half.bytes());
    }
    backend.fill(f32(10), 1f);
  }

  @Test
  void aBadIndexFailsTheLaneThatWaitsAndIsThenForgotten() {
    Tensor index = backend.allocate(DType.I32, Shape.of(2));
    open.add(index);
    OpComparison.write(backend, index, new int[] {0, 5});
    Tensor out = f32(2, 3);
    Lane lane = backend.lane("lane");
    lane.submit(() -> backend.gatherRows(out, f32(5, 3), index));
    assertThatThrownBy(lane::synchronize)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContainingAll("gatherRows", "[0, 5)", "found 5 at position 1");
    lane.synchronize();
    lane.close();
    backend.synchronize();
  }

  @Test
  void sameBitsOnEveryLaneAndInEveryBackend() {
    int[] first = bits(backend);
    try (TrainingBackend other = cuda(Long.MAX_VALUE)) {
      assertThat(bits(other)).isEqualTo(first);
    }
    List<int[]> onLane = new ArrayList<>();
    try (Lane lane = backend.lane("lane")) {
      lane.submit(() -> onLane.add(bits(backend)));
    }
    assertThat(onLane.get(0)).isEqualTo(first);
  }

  /** Of a product whose inner dimension invites a split. */
  private static int[] bits(TrainingBackend b) {
    try (Tensor x = b.allocate(DType.F32, Shape.of(33, 50_001));
        Tensor out = b.allocate(DType.F32, Shape.of(33, 33))) {
      float[] values = new float[33 * 50_001];
      Random random = new Random(3);
      for (int i = 0; i < values.length; i++) {
        values[i] = random.nextFloat() - 0.5f;
      }
      OpComparison.write(b, x, values);
      b.matmul(out, x, x, Transpose.NT, 0f);
      return OpComparison.bits(OpComparison.readFloats(b, out));
    }
  }

  @Test
  void aTensorOfAnotherBackendIsRefused() {
    try (TrainingBackend other = cuda(Long.MAX_VALUE);
        Tensor theirs = other.allocate(DType.F32, Shape.of(3))) {
      assertThatThrownBy(() -> backend.fill(theirs, 1f))
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
          .hasMessageContainingAll("another device", "F32[3]");
      other.fill(theirs, 2f);
      assertThat(OpComparison.readFloats(other, theirs)).containsOnly(2f);
    }
  }

  @Test
  void aForgottenLaneDoesNotKeepTheBackendOpen() {
    TrainingBackend other = cuda(Long.MAX_VALUE);
    Lane forgotten = other.lane("forgotten");
    Tensor x = other.allocate(DType.F32, Shape.of(100));
    forgotten.submit(() -> other.fill(x, 1f));
    forgotten.synchronize();
    x.close();
    other.close();
    other.close();
  }

  @Test
  void kernelsAreCompiledOnceForAllProcesses() throws Exception {
    backend.fill(f32(3), 1f);
    long files = count();
    assertThat(files).isPositive();
    try (TrainingBackend other = cuda(Long.MAX_VALUE);
        Tensor x = other.allocate(DType.F32, Shape.of(3))) {
      other.fill(x, 1f);
    }
    assertThat(count()).isEqualTo(files);
  }

  private static long count() throws Exception {
    try (Stream<Path> files = Files.list(cache)) {
      return files.filter(file -> file.toString().endsWith(".cubin")).count();
    }
  }
}

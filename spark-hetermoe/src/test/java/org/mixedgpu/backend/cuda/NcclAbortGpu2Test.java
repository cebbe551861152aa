package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** What waits on a GPU for another one that is alive and does nothing: an abort ends it. */
@Tag("gpu2")
@Timeout(120)
class NcclAbortGpu2Test {
  private static final Duration LIMIT = Duration.ofSeconds(60);
  private static final int SECONDS = 10;
  private static final int ELEMENTS = 1 << 20;

  /** More than a GPU's queue takes. */
  private static final int MANY = 3000;

  private final SimulatedNccl simulated = new SimulatedNccl(false /* ranks are threads */);
  private final List<TrainingBackend> backends = new ArrayList<>();
  private final List<NcclCommunicator> groups = new ArrayList<>();
  private final List<Tensor> tensors = new ArrayList<>();

  /** Rank 0 may send to rank 1. */
  @BeforeEach
  void connect() throws Exception {
    List<CompletableFuture<Void>> joining = new ArrayList<>();
    for (int rank = 0; rank < 2; rank++) {
      backends.add(
          TestDevice.isCpu()
              ? SimulatedGpu.over(Backends.cpu(new CpuOptions(1, Long.MAX_VALUE)))
              : TestDevice.open(rank, DType.F32));
      tensors.add(backends.get(rank).allocate(DType.F32, Shape.of(ELEMENTS)));
      groups.add(
          TestDevice.isCpu()
              ? simulated.make(backends.get(rank), "pair", 8, LIMIT)
              : NcclCommunicator.of(backends.get(rank), "pair", 8, LIMIT));
    }
    byte[] id = groups.get(0).newId();
    for (int rank = 0; rank < 2; rank++) {
      int of = rank;
      joining.add(
          CompletableFuture.runAsync(
              () -> {
                groups.get(of).join(id, 2, of);
                int[] other = {1 - of};
                groups
                    .get(of)
                    .connect(of == 0 ? other : new int[0], of == 0 ? new int[0] : other, spare(of));
              }));
    }
    for (CompletableFuture<Void> each : joining) {
      each.get(60, TimeUnit.SECONDS);
    }
  }

  private Tensor spare(int rank) {
    return tensors.get(rank).rows(0, 2);
  }

  @AfterEach
  void close() throws Exception {
    List<CompletableFuture<Void>> aborting = new ArrayList<>();
    groups.forEach(
        group -> aborting.add(CompletableFuture.runAsync(() -> group.abort("the test is over"))));
    for (CompletableFuture<Void> each : aborting) {
      each.get(SECONDS, TimeUnit.SECONDS);
    }
    tensors.forEach(Tensor::close);
    backends.forEach(TrainingBackend::close);
    assertThat(simulated.crimes()).isEmpty();
  }

  @Test
  void aReceiveWhosePeerNeverSendsEnds() throws Exception {
    try (Lane lane = backends.get(1).urgentLane("receiver")) {
      lane.submit(() -> groups.get(1).receive(0, tensors.get(1)));
      assertThatTheAbortOfEnds(1, lane);
    }
  }

  @Test
  void aSumWhoseOtherMemberNeverComesEnds() throws Exception {
    try (Lane lane = backends.get(0).urgentLane("sum")) {
      // Sums connect at first use, which waits for the other too.
      lane.submit(
          () -> {
            try {
              groups.get(0).sum(tensors.get(0));
            } catch (MixedGpuException e) {
              assertThat(e).hasMessageContaining("enough");
            }
          });
      assertThatTheAbortOfEnds(0, lane);
    }
  }

  @Test
  void manySendsThatNobodyReceivesEnd() throws Exception {
    AtomicInteger queued = new AtomicInteger();
    try (Lane lane = backends.get(0).urgentLane("sender")) {
      lane.submit(
          () -> {
            try {
              for (int i = 0; i < MANY; i++) {
                groups.get(0).send(1, tensors.get(0));
                queued.incrementAndGet();
              }
            } catch (MixedGpuException e) {
              assertThat(e).hasMessageContaining("enough");
            }
          });
      int before = -1;
      while (queued.get() != before) {
        before = queued.get();
        Thread.sleep(1000);
      }
      System.out.println(before + " of " + MANY + " sends were queued");
      assertThat(before).isGreaterThan(100);
      assertThatTheAbortOfEnds(0, lane);
    }
  }

  /** Waiting, and then not any more; and the GPU can be used. */
  private void assertThatTheAbortOfEnds(int rank, Lane lane) throws Exception {
    Event end = lane.record();
    Thread.sleep(500);
    assertThat(end.reached()).as("what should wait has ended by itself").isFalse();
    CompletableFuture<Void> aborting =
        CompletableFuture.runAsync(() -> groups.get(rank).abort("enough"));
    long start = System.nanoTime();
    while (!end.reached()) {
      assertThat(Duration.ofNanos(System.nanoTime() - start))
          .isLessThan(Duration.ofSeconds(SECONDS));
      Thread.sleep(5);
    }
    System.out.printf("ended %.1f ms after the abort%n", (System.nanoTime() - start) / 1e6);
    aborting.get(SECONDS, TimeUnit.SECONDS);
    backends.get(rank).fill(tensors.get(rank), 3);
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(Float.BYTES * ELEMENTS).order(ByteOrder.LITTLE_ENDIAN);
    backends.get(rank).read(bytes, tensors.get(rank));
    assertThat(bytes.getFloat(Float.BYTES * (ELEMENTS - 1))).isEqualTo(3);
  }
}

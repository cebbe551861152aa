package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.Tensor;

/**
 * What {@link Backend} and {@link TrainingBackend} mean, as tests that every implementation runs:
 * results against {@link ReferenceBackend}, poisoned outputs, odd sizes, permitted aliasing,
 * refused shapes. A new op enters here first.
 */
abstract class BackendContract extends ShapesContract {

  @Test
  void addBiasBackwardAddsAllRows() {
    compare.check(
        "addBiasBackward",
        500,
        (b, t) -> b.addBiasBackward(t[0], t[1]),
        compare.inOut32(301),
        compare.in(500, 301));
    refused(() -> backend.addBiasBackward(f32(2), real(2, 3)), "addBiasBackward", "[3]", "[2]");
  }

  @Test
  void swigluBackwardAlsoInPlace() {
    for (int n : new int[] {1, 13, 40_003}) {
      compare.check(
          "swigluBackward",
          8,
          (b, t) -> b.swigluBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
          compare.out(n),
          compare.out(n),
          compare.out(n),
          compare.in(n),
          compare.in(n),
          compare.in(n));
      compare.check(
          "swigluBackward over gate and up",
          8,
          (b, t) -> b.swigluBackward(t[0], t[1], t[3], t[2], t[0], t[1]),
          compare.inOut(n),
          compare.inOut(n),
          compare.in(n),
          compare.out(n));
      compare.check(
          "swigluBackward over dOut",
          8,
          (b, t) -> b.swigluBackward(t[0], t[1], t[3], t[0], t[2], t[1]),
          compare.inOut(n),
          compare.inOut(n),
          compare.in(n),
          compare.out(n));
      compare.check(
          "swigluBackward crosswise",
          8,
          (b, t) -> b.swigluBackward(t[1], t[0], t[3], t[2], t[0], t[1]),
          compare.inOut(n),
          compare.inOut(n),
          compare.in(n),
          compare.out(n));
    }
  }

  @Test
  void addGatedBackwardGivesBothGradients() {
    compare.check(
        "addGatedBackward",
        301,
        (b, t) -> b.addGatedBackward(t[0], t[1], t[2], t[3], t[4]),
        compare.out(70, 301),
        compare.out(70),
        compare.in(70, 301),
        compare.in(70, 301),
        compare.in(70));
  }

  @Test
  void scatterAddRowsAddsRepeatedRows() {
    compare.check(
        "scatterAddRows",
        80,
        (b, t) -> b.scatterAddRows(t[0], t[1], t[2]),
        compare.inOut32(9, 517),
        compare.in(400, 517),
        compare.in(compare.indexes(400, 9), 400));
    compare.check(
        "scatterAddRows of many",
        60,
        (b, t) -> b.scatterAddRows(t[0], t[1], t[2]),
        compare.inOut32(50_000, 3),
        compare.in(270_000, 3),
        compare.in(compare.indexes(270_000, 50_000), 270_000));
    Tensor index = i32(1);
    OpComparison.write(backend, index, new int[] {3});
    refusedAtTheLatestWhenWaiting(
        () -> backend.scatterAddRows(f32(3, 2), real(1, 2), index), "[0, 3)", "found 3");
    refusedAtTheLatestWhenWaiting(
        () -> backend.scatterAddRows(f32(0, 2), real(1, 2), index), "[0, 0)");
  }

  @Test
  void combineRowsBackwardAlsoInPlace() {
    int rows = 57;
    int k = 4;
    int width = 203;
    compare.check(
        "combineRowsBackward",
        width,
        (b, t) -> b.combineRowsBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
        compare.out(rows * k, width),
        compare.out32(rows, k),
        compare.in(rows, width),
        compare.in(rows * k, width),
        compare.in(compare.permutation(rows * k), rows, k),
        compare.in32(rows, k));
    compare.check(
        "combineRowsBackward over slots",
        width,
        (b, t) -> b.combineRowsBackward(t[0], t[1], t[2], t[0], t[3], t[4]),
        compare.inOut(rows * k, width),
        compare.out32(rows, k),
        compare.in(rows, width),
        compare.in(compare.permutation(rows * k), rows, k),
        compare.in32(rows, k));
  }

  @Test
  void groupedMatmulWeightGradientOverwritesOrAddsPerExpert() {
    int[][] groups = {{0, 5, 5, 64, 70}, {0, 0, 0, 0, 70}, {3, 20, 21, 40, 60}, {9, 9, 9, 9, 9}};
    for (int[] offsets : groups) {
      weightGradients("groupedMatmulWeightGradient", 4, 45, 33, 70, offsets);
      weightGradients("groupedMatmulWeightGradient in units", 4, 72, 40, 70, offsets);
    }
    weightGradients(
        "groupedMatmulWeightGradient of whole tiles", 4, 136, 64, 200, 0, 130, 130, 131, 200);
    weightGradients(
        "groupedMatmulWeightGradient of many tiles", 3, 264, 520, 330, 1, 129, 129, 330);
    weightGradients("groupedMatmulWeightGradient of no rows", 3, 136, 264, 0, 0, 0, 0, 0);
    weightGradients("groupedMatmulWeightGradient, N 0", 3, 0, 264, 64, 0, 20, 40, 64);
    weightGradients("groupedMatmulWeightGradient, K 0", 3, 136, 0, 64, 0, 20, 40, 64);
    refused(
        () ->
            backend.groupedMatmulWeightGradient(
                f32(2, 3, 4), real(6, 3), real(6, 5), i32(3), false),
        "[6, 4]",
        "[6, 5]");
  }

  /** Over poison, and added to numbers. */
  private void weightGradients(String what, int experts, int n, int k, int rows, int... offsets) {
    for (boolean accumulate : new boolean[] {false, true}) {
      compare.check(
          what + (accumulate ? ", added" : ", overwritten"),
          Math.max(1, rows),
          (b, t) -> b.groupedMatmulWeightGradient(t[0], t[1], t[2], t[3], accumulate),
          accumulate ? compare.inOut32(experts, n, k) : compare.out32(experts, n, k),
          compare.in(rows, n),
          compare.in(rows, k),
          compare.in(offsets, experts + 1));
    }
  }

  @Test
  void groupedMatmulWeightGradientOfManyExpertsMostlyWithoutRows() {
    int[] offsets = new int[71];
    for (int e = 1; e < offsets.length; e++) {
      offsets[e] = offsets[e - 1] + (e % 3 == 0 ? e % 5 : 0);
    }
    weightGradients("groupedMatmulWeightGradient, 70 experts", 70, 16, 24, offsets[70], offsets);
  }

  @Test
  void groupedMatmulWeightGradientRefusesBadGroups() {
    Tensor offsets = i32(3);
    OpComparison.write(backend, offsets, new int[] {0, 6, 4});
    for (boolean accumulate : new boolean[] {false, true}) {
      refusedAtTheLatestWhenWaiting(
          () ->
              backend.groupedMatmulWeightGradient(
                  f32(2, 2, 3), real(6, 2), real(6, 3), offsets, accumulate),
          "groupedMatmulWeightGradient",
          "4 after 6");
    }
  }

  @Test
  void rmsNormBackwardAlsoInPlace() {
    for (int width : new int[] {1, 9, 770}) {
      OpComparison.Op all = (b, t) -> b.rmsNormBackward(t[0], t[1], t[2], t[3], t[4], t[5]);
      // Not the rows' own: those leave nothing of dX where the width is 1.
      float[] inverse = new float[66];
      for (int i = 0; i < inverse.length; i++) {
        inverse[i] = 0.5f + compare.random().nextFloat();
      }
      compare.check(
          "rmsNormBackward " + width,
          width + 66,
          all,
          compare.out(66, width),
          compare.inOut32(width),
          compare.in(66, width),
          compare.in(66, width),
          compare.in32(width),
          compare.in32(inverse, 66));
      compare.check(
          "rmsNormBackward over dOut, no gain",
          width + 8,
          (b, t) -> b.rmsNormBackward(t[0], null, t[0], t[1], t[2], t[3]),
          compare.inOut(66, width),
          compare.in(66, width),
          compare.in32(width),
          compare.in32(inverse, 66));
      compare.check(
          "rmsNormBackward over dOut",
          width + 66,
          (b, t) -> b.rmsNormBackward(t[0], t[1], t[0], t[2], t[3], t[4]),
          compare.inOut(66, width),
          compare.inOut32(width),
          compare.in(66, width),
          compare.in32(width),
          compare.in32(inverse, 66));
    }
  }

  /** batch, Tq, Tk, query heads, KV heads, head size, window. */
  @ParameterizedTest
  @CsvSource({
    "16, 2, 2, 1, 1, 8, 0",
    "2, 5, 5, 4, 2, 6, 0",
    "1, 70, 70, 2, 1, 16, 0",
    "2, 130, 130, 4, 4, 8, 0",
    "1, 3, 700, 6, 2, 8, 0",
    "1, 300, 300, 2, 2, 4, 0",
    "2, 40, 40, 2, 1, 8, 2",
    "1, 200, 200, 4, 2, 8, 7",
    "1, 20, 900, 2, 1, 8, 100",
    "2, 130, 130, 4, 2, 64, 0",
    "1, 70, 333, 2, 1, 128, 0",
    "1, 200, 200, 2, 2, 64, 100",
    "1, 150, 150, 2, 1, 8, 2147483647",
    "1, 150, 150, 2, 1, 64, 2147483647",
    "1, 700, 700, 8, 4, 128, 2147483000",
    "1, 0, 256, 2, 1, 64, 0",
    "1, 0, 30, 2, 1, 8, 0",
  })
  void attentionBackwardGivesAllGradients(
      int batch, int queries, int keys, int heads, int kvHeads, int width, int window) {
    AttentionShape shape = new AttentionShape(batch, heads, kvHeads, width, scale(width), window);
    OpComparison.Operand q = compare.in(batch * queries, heads * width);
    OpComparison.Operand k = compare.in(batch * keys, kvHeads * width);
    OpComparison.Operand v = compare.in(batch * keys, kvHeads * width);
    Object[] forward =
        OpComparison.run(
            reference,
            (b, t) -> b.attention(t[0], t[1], t[2], t[3], t[4], shape),
            compare.out(batch * queries, heads * width),
            compare.out32(batch * queries, heads),
            q,
            k,
            v);
    compare.checkRoundedInside(
        "attentionBackward",
        // Four sums feed one another: scores, probabilities, their gradient, and the result.
        16L * (queries * (heads / kvHeads) + keys + width),
        3,
        (b, t) -> b.attentionBackward(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], shape),
        compare.out(batch * queries, heads * width),
        compare.out(batch * keys, kvHeads * width),
        compare.out(batch * keys, kvHeads * width),
        compare.in(batch * queries, heads * width),
        q,
        k,
        v,
        compare.in((float[]) forward[0], batch * queries, heads * width),
        compare.in32((float[]) forward[1], batch * queries, heads));
  }

  /** A query that sees one key has probability 1 there: all goes to dV, and dQ and dK cancel. */
  @Test
  void attentionBackwardOfASingleKey() {
    AttentionShape shape = new AttentionShape(1, 2, 2, 8, 0.5f, 1);
    int rows = 5;
    OpComparison.Operand q = compare.in(rows, 16);
    OpComparison.Operand v = compare.in(rows, 16);
    float[] logSumExp = new float[rows * 2];
    for (int i = 0; i < logSumExp.length; i++) {
      double score = 0;
      for (int c = 0; c < 8; c++) {
        score += 0.5 * q.floats()[i * 8 + c] * q.floats()[i * 8 + c];
      }
      logSumExp[i] = (float) score;
    }
    OpComparison.Operand dOut = compare.in(rows, 16);
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) ->
                b.attentionBackward(t[0], t[1], t[2], t[3], t[4], t[4], t[5], t[5], t[6], shape),
            compare.out(rows, 16),
            compare.out(rows, 16),
            compare.out(rows, 16),
            dOut,
            q,
            v,
            compare.in32(logSumExp, rows, 2));
    for (int i = 0; i < rows * 16; i++) {
      assertThat(((float[]) got[0])[i]).isBetween(-1e-4f, 1e-4f);
      assertThat(((float[]) got[1])[i]).isBetween(-1e-4f, 1e-4f);
      assertThat(((float[]) got[2])[i]).isCloseTo(dOut.floats()[i], within(1e-5f));
    }
  }

  @Test
  void routerBackwardThroughAllParts() {
    int rows = 51;
    int experts = 12;
    int k = 3;
    for (boolean renormalise : new boolean[] {false, true}) {
      OpComparison.Operand logits = compare.in32(rows, experts);
      Object[] forward =
          OpComparison.run(
              reference,
              (b, t) -> b.routerTopK(t[0], t[1], t[2], t[3], renormalise),
              compare.out32(rows, experts),
              compare.out32(rows, k),
              compare.outInts(rows, k),
              logits);
      OpComparison.Operand[] operands = {
        compare.out32(rows, experts),
        compare.in32(rows, k),
        compare.in32((float[]) forward[0], rows, experts),
        compare.in32((float[]) forward[1], rows, k),
        compare.in((int[]) forward[2], rows, k),
        logits,
        compare.in32(experts)
      };
      compare.check(
          "routerBackward",
          experts,
          (b, t) -> b.routerBackward(t[0], t[1], t[2], t[3], t[4], null, renormalise, null, 0f),
          operands);
      compare.check(
          "routerBackward with both losses",
          experts,
          (b, t) -> b.routerBackward(t[0], t[1], t[2], t[3], t[4], t[5], renormalise, t[6], 0.02f),
          operands);
    }
    refused(
        () ->
            backend.routerBackward(
                f32(2, 4), f32(2, 1), f32(2, 4), f32(2, 1), i32(2, 1), null, true, null, 1f),
        "logits",
        "null");
  }

  @Test
  void sumsOverAllAndOverRows() {
    for (int n : new int[] {1, 100, 200_003}) {
      compare.check(
          "sumSquares", n, (b, t) -> b.sumSquares(t[0], t[1]), compare.out32(1), compare.in32(n));
    }
    compare.check(
        "sumRows",
        700,
        (b, t) -> b.sumRows(t[0], t[1]),
        compare.out32(299),
        compare.in32(700, 299));
    refused(() -> backend.sumSquares(f32(2), f32(3)), "sumSquares", "[1]", "[2]");
  }

  @Test
  void adamWStepsAsDefined() {
    float[] second = compare.normal(40_001);
    for (int i = 0; i < second.length; i++) {
      second[i] = i % 10 == 0 ? 0 : second[i] * second[i];
    }
    for (long step : new long[] {1, 2, 1000}) {
      AdamWStep hyper = new AdamWStep(1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, step, 0.5f);
      compare.check(
          "adamW, step " + step,
          8,
          (b, t) -> adamW(b, t, 0, hyper),
          compare.inOut32(second.length),
          compare.inOut32(second.length),
          compare.inOut32(second, second.length),
          compare.in32(second.length));
    }
    AdamWStep hyper = new AdamWStep(1, 0, 0, 0, 0, 1, 1);
    refused(
        () -> backend.adamW(f32(2), f32(2), f32(2), f32(3), null, hyper),
        "adamW",
        "gradient",
        "[2]",
        "[3]");
  }

  @Test
  void adamWWritesAWorkingCopyUnlessTheParameterIsOne() {
    AdamWStep hyper = new AdamWStep(1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 3, 0.5f);
    float[] second = compare.normal(1001);
    for (int i = 0; i < second.length; i++) {
      second[i] *= second[i];
    }
    compare.check(
        "adamW without a working copy",
        8,
        (b, t) -> b.adamW(t[0], t[1], t[2], t[3], null, hyper),
        compare.inOut32(second.length),
        compare.inOut32(second.length),
        compare.inOut32(second, second.length),
        compare.in32(second.length));
    refused(() -> backend.adamW(f32(2), f32(2), f32(2), f32(2), f32(2), hyper), "adamW", "working");
    refused(
        () -> backend.adamW(f32(2), f32(2), f32(2), f32(2), real(3), hyper), "adamW", "working");
  }

  // --- lanes --------------------------------------------------------------------------------

  @Test
  @Timeout(20)
  void aLaneKeepsOrderAndEventsJoinLanes() {
    List<String> order = new CopyOnWriteArrayList<>();
    CountDownLatch release = new CountDownLatch(1);
    try (Lane first = backend.lane("first");
        Lane second = backend.urgentLane("second")) {
      first.submit(() -> uninterrupted(release));
      first.submit(() -> order.add("first"));
      Event done = first.record();
      second.await(done);
      second.submit(() -> order.add("second"));
      assertThat(done.reached()).isFalse();
      release.countDown();
      done.synchronize();
      assertThat(done.reached()).isTrue();
      second.synchronize();
      assertThat(order).containsExactly("first", "second");
      assertThat(first.name()).isEqualTo("first");
    }
  }

  @Test
  @Timeout(20)
  void opsOnALaneAreInOrder() {
    Tensor x = f32(10_000);
    try (Lane lane = backend.lane("compute")) {
      lane.submit(() -> backend.fill(x, 1f));
      for (int i = 0; i < 10; i++) {
        lane.submit(() -> backend.add(x, x, x));
      }
      lane.synchronize();
    }
    assertThat(OpComparison.readFloats(backend, x)).containsOnly(1024f);
  }

  @Test
  @Timeout(20)
  void afterAFailureALaneSkipsAndRethrows() {
    List<String> ran = new CopyOnWriteArrayList<>();
    Lane lane = backend.lane("failing");
    lane.submit(() -> ran.add("before"));
    Event before = lane.record();
    lane.submit(
        () -> {
          throw new MixedGpuException(Fault.MISSING, "planted");
        });
    lane.submit(() -> ran.add("after"));
    Event after = lane.record();
    before.synchronize();
    assertThatThrownBy(after::synchronize).hasMessageContainingAll("failing", "planted");
    assertThatThrownBy(lane::synchronize)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING));
    try (Lane other = backend.lane("other")) {
      other.await(before);
      other.submit(() -> ran.add("other"));
      other.synchronize();
    }
    Lane behind = backend.lane("behind");
    behind.await(after);
    behind.submit(() -> ran.add("behind"));
    assertThatThrownBy(behind::close).hasMessageContaining("planted");
    assertThatThrownBy(lane::close).hasMessageContaining("planted");
    assertThat(ran).containsExactly("before", "other");
    assertThatThrownBy(() -> lane.submit(() -> {})).hasMessageContaining("closed");
  }

  /** Long against what a device needs to notice a stamp, so that half of it is safe to ask for. */
  private static final long PAUSE_MILLIS = 20;

  /** Its work uses what the caller frees next. */
  @Test
  @Timeout(20)
  void anInterruptedCloseWaitsForTheLanesWork() throws Exception {
    Tensor x = f32(1000);
    CountDownLatch begun = new CountDownLatch(1);
    AtomicBoolean done = new AtomicBoolean();
    Lane lane = backend.lane("busy");
    lane.submit(
        () -> {
          begun.countDown();
          LockSupport.parkNanos(300_000_000);
          OpComparison.write(backend, x, new float[1000]);
          done.set(true);
        });
    begun.await();
    Thread.currentThread().interrupt();
    assertThatThrownBy(lane::close).hasMessageContaining("Interrupted");
    assertThat(Thread.interrupted()).isTrue();
    assertThat(done).isTrue();
  }

  @Test
  @Timeout(20)
  void stampsAreMomentsInALanesWork() {
    Tensor x = f32(10_000);
    Stamp[] stamps = new Stamp[4];
    try (Lane lane = backend.lane("compute")) {
      lane.submit(
          () -> {
            stamps[0] = backend.stamp();
            backend.fill(x, 1f);
            stamps[1] = backend.stamp();
            pause();
            backend.add(x, x, x);
            stamps[2] = backend.stamp();
            stamps[3] = backend.stamp();
          });
      lane.synchronize();
    }
    long[] since = new long[stamps.length];
    for (int i = 0; i < stamps.length; i++) {
      since[i] = stamps[i].nanosSince(stamps[0]);
      assertThat(stamps[i].nanosSince(stamps[i])).isZero();
    }
    assertThat(since).isSorted();
    assertThat(since[2] - since[1]).isGreaterThan(PAUSE_MILLIS * 1_000_000 / 2);
    // A device may count in steps.
    assertThat(stamps[3].nanosSince(stamps[1]))
        .isCloseTo(since[3] - since[1], within(5_000 + since[3] / 1000));
    for (Stamp stamp : stamps) {
      stamp.close();
      stamp.close();
    }
  }

  @Test
  @Timeout(20)
  void whatALaneAwaitsIsBeforeItsNextStamp() {
    Tensor x = f32(10_000);
    Stamp[] stamps = new Stamp[3];
    try (Lane first = backend.lane("first");
        Lane second = backend.lane("second")) {
      first.submit(
          () -> {
            stamps[0] = backend.stamp();
            backend.fill(x, 1f);
            pause();
            backend.add(x, x, x);
            stamps[1] = backend.stamp();
          });
      second.await(first.record());
      second.submit(() -> stamps[2] = backend.stamp());
      second.synchronize();
    }
    assertThat(stamps[2].nanosSince(stamps[1])).isNotNegative();
    assertThat(stamps[2].nanosSince(stamps[0])).isGreaterThan(PAUSE_MILLIS * 1_000_000 / 2);
    for (Stamp stamp : stamps) {
      stamp.close();
    }
  }

  @Test
  @Timeout(20)
  void aStampIsWaitedForAndComesAfterWhatTheSubmitterHasDone() {
    Tensor x = f32(10_000);
    Stamp[] onLane = new Stamp[1];
    CountDownLatch taken = new CountDownLatch(1);
    backend.fill(x, 1f);
    Stamp start = backend.stamp();
    try (Lane lane = backend.lane("compute")) {
      lane.submit(
          () -> {
            backend.add(x, x, x);
            onLane[0] = backend.stamp();
            taken.countDown();
          });
      uninterrupted(taken);
      // Nobody else has waited for the device.
      assertThat(onLane[0].nanosSince(start)).isNotNegative();
      start.close();
      onLane[0].close();
    }
  }

  private static void pause() {
    try {
      Thread.sleep(PAUSE_MILLIS);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void uninterrupted(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}

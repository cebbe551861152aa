package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.OpComparison.Op;
import org.mixedgpu.backend.OpComparison.Operand;

/** Same inputs, same shapes: same bits, whatever the threads and however warm the JVM. */
class CpuBackendBitsTest {
  private record Case(Op op, Operand[] operands) {}

  private TrainingBackend one;
  private TrainingBackend three;
  private OpComparison make;

  @BeforeEach
  void open() {
    one = Backends.cpu(new CpuOptions(1, 1L << 30));
    three = Backends.cpu(new CpuOptions(3, 1L << 30));
    make = new OpComparison(one, three, 7);
  }

  @AfterEach
  void close() {
    one.close();
    three.close();
  }

  private static Case of(Op op, Operand... operands) {
    return new Case(op, operands);
  }

  /** Every op whose order of summation or choice of tasks could show in its bits. */
  private Map<String, Case> cases(int rows, int width) {
    Map<String, Case> cases = new LinkedHashMap<>();
    int heads = 4;
    int d = width / heads;
    AttentionShape shape = new AttentionShape(1, heads, 2, d, 0.3f, 0);
    Operand x = make.in(rows, width);
    Operand y = make.in(rows, width);
    Operand row = make.in(width);
    Operand perRow = make.in(rows);
    Operand kv = make.in(rows, width / 2);
    Operand square = make.in(width, width);
    for (Transpose transpose : new Transpose[] {Transpose.NN, Transpose.NT}) {
      cases.put(
          "matmul " + transpose,
          of(
              (b, t) -> b.matmul(t[0], t[1], t[2], transpose, 0f),
              make.out(rows, width),
              x,
              square));
    }
    cases.put(
        "matmul TN",
        of((b, t) -> b.matmul(t[0], t[1], t[2], Transpose.TN, 1f), make.inOut(width, width), x, y));
    cases.put(
        "groupedMatmul",
        of(
            (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NT),
            make.inOut(rows, 32),
            x,
            make.in(3, 32, width),
            make.in(new int[] {0, rows / 3, rows / 3, rows}, 4)));
    cases.put("swiglu", of((b, t) -> b.swiglu(t[0], t[1], t[2]), make.out(rows, width), x, y));
    cases.put(
        "swigluBackward",
        of(
            (b, t) -> b.swigluBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
            make.out(rows, width),
            make.out(rows, width),
            make.out(rows, width),
            x,
            y,
            make.in(rows, width)));
    cases.put(
        "rmsNorm",
        of(
            (b, t) -> b.rmsNorm(t[0], t[1], t[2], t[3], 1e-5f),
            make.out(rows, width),
            make.out(rows),
            x,
            row));
    cases.put(
        "rmsNormBackward",
        of(
            (b, t) -> b.rmsNormBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
            make.out(rows, width),
            make.inOut(width),
            x,
            y,
            row,
            perRow));
    Operand out = make.in(rows, width);
    Operand lse = make.in(rows, heads);
    cases.put(
        "attention",
        of(
            (b, t) -> b.attention(t[0], t[1], t[2], t[3], t[4], shape),
            make.out(rows, width),
            make.out(rows, heads),
            x,
            kv,
            kv));
    cases.put(
        "attentionBackward",
        of(
            (b, t) ->
                b.attentionBackward(t[0], t[1], t[2], t[3], t[4], t[5], t[5], t[6], t[7], shape),
            make.out(rows, width),
            make.out(rows, width / 2),
            make.out(rows, width / 2),
            y,
            x,
            kv,
            out,
            lse));
    cases.put(
        "crossEntropy",
        of(
            (b, t) -> b.crossEntropy(t[0], t[1], t[2], t[3], 0.5f),
            make.out(rows),
            make.out(rows, width),
            x,
            make.in(make.indexes(rows, width), rows)));
    cases.put(
        "routerTopK",
        of(
            (b, t) -> b.routerTopK(t[0], t[1], t[2], t[3], true),
            make.out(rows, width),
            make.out(rows, 4),
            make.outInts(rows, 4),
            x));
    cases.put(
        "combineRowsBackward",
        of(
            (b, t) -> b.combineRowsBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
            make.out(rows, width),
            make.out(rows, 1),
            x,
            y,
            make.in(make.permutation(rows), rows, 1),
            make.in(rows, 1)));
    cases.put(
        "addGatedBackward",
        of(
            (b, t) -> b.addGatedBackward(t[0], t[1], t[2], t[3], t[4]),
            make.out(rows, width),
            make.out(rows),
            x,
            y,
            perRow));
    cases.put(
        "scatterAddRows",
        of(
            (b, t) -> b.scatterAddRows(t[0], t[1], t[2]),
            make.inOut(5, width),
            x,
            make.in(make.indexes(rows, 5), rows)));
    cases.put("sumRows", of((b, t) -> b.sumRows(t[0], t[1]), make.out(width), x));
    cases.put("sumSquares", of((b, t) -> b.sumSquares(t[0], t[1]), make.out(1), x));
    cases.put(
        "adamW",
        of(
            (b, t) ->
                b.adamW(
                    t[0],
                    t[1],
                    t[2],
                    t[3],
                    null,
                    new AdamWStep(1e-3f, 0.9f, 0.99f, 1e-8f, 0.1f, 3, 1)),
            make.inOut(rows, width),
            make.inOut(rows, width),
            make.inOut(new float[rows * width], rows, width),
            x));
    return cases;
  }

  private static int[][] bits(TrainingBackend backend, Case aCase) {
    Object[] results = OpComparison.run(backend, aCase.op(), aCase.operands());
    int[][] bits = new int[results.length][];
    for (int i = 0; i < bits.length; i++) {
      bits[i] =
          results[i] instanceof float[] floats ? OpComparison.bits(floats) : (int[]) results[i];
    }
    return bits;
  }

  @Test
  void bitsDoNotDependOnTheNumberOfThreads() {
    cases(1030, 264)
        .forEach(
            (name, c) ->
                assertThat(Arrays.deepEquals(bits(one, c), bits(three, c))).as(name).isTrue());
  }

  @Test
  void bitsDoNotDependOnOtherLanes() throws ExecutionException, InterruptedException {
    Map<String, Case> cases = cases(300, 264);
    Map<String, int[][]> alone = new LinkedHashMap<>();
    cases.forEach((name, c) -> alone.put(name, bits(three, c)));
    ExecutorService callers = Executors.newFixedThreadPool(4);
    try {
      List<Future<?>> all = new ArrayList<>();
      for (int caller = 0; caller < 4; caller++) {
        all.add(
            callers.submit(
                () ->
                    cases.forEach(
                        (name, c) ->
                            assertThat(Arrays.deepEquals(bits(three, c), alone.get(name)))
                                .as(name)
                                .isTrue())));
      }
      for (Future<?> future : all) {
        future.get();
      }
    } finally {
      callers.shutdown();
    }
  }

  /**
   * The first calls run in the interpreter; by the last the second compiler has been through. Small
   * shapes, so that thousands of calls take seconds.
   */
  @Test
  void bitsDoNotDependOnHowWarmTheJvmIs() {
    Map<String, Case> cases = cases(9, 72);
    Map<String, int[][]> first = new LinkedHashMap<>();
    cases.forEach((name, c) -> first.put(name, bits(one, c)));
    cases.forEach(
        (name, c) -> {
          for (int i = 0; i < 3000; i++) {
            OpComparison.run(one, c.op(), c.operands());
          }
          assertThat(Arrays.deepEquals(bits(one, c), first.get(name))).as(name).isTrue();
        });
  }

  @Test
  void aDifferentBitIsFound() {
    Case right = cases(9, 72).get("rmsNorm");
    int[][] bits = bits(one, right);
    bits[0][5] ^= 1;
    assertThat(Arrays.deepEquals(bits, bits(one, right))).isFalse();
  }
}

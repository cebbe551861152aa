package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/** The part of {@link BackendContract} about the ops of a forward pass. */
abstract class OpContract extends MemoryContract {

  @Test
  void fillOverwritesAll() {
    for (int n : new int[] {1, 1000, 70_001}) {
      compare.check("fill", 1, (b, t) -> b.fill(t[0], -2.5f), compare.out(n));
      compare.check("fill", 1, (b, t) -> b.fill(t[0], -2.1f), compare.out32(n));
    }
    refused(() -> backend.fill(i32(3), 1f), "fill", "I32[3]");
  }

  @Test
  void addAddsAlsoInPlace() {
    for (int n : new int[] {1, 17, 50_001}) {
      compare.check(
          "add",
          1,
          (b, t) -> b.add(t[0], t[1], t[2]),
          compare.out(n),
          compare.in(n),
          compare.in(n));
      compare.check("add", 1, (b, t) -> b.add(t[0], t[0], t[1]), compare.inOut(n), compare.in(n));
      compare.check("add", 1, (b, t) -> b.add(t[0], t[1], t[0]), compare.inOut(n), compare.in(n));
      compare.check("add", 1, (b, t) -> b.add(t[0], t[0], t[0]), compare.inOut(n));
      compare.check(
          "add in F32", 1, (b, t) -> b.add(t[0], t[0], t[1]), compare.inOut32(n), compare.in32(n));
    }
    refused(() -> backend.add(real(2, 3), real(2, 3), real(3, 2)), "add", "[2, 3]", "[3, 2]");
  }

  @Test
  void scaleMultiplies() {
    for (int n : new int[] {1, 17, 50_001}) {
      compare.check("scale", 1, (b, t) -> b.scale(t[0], 0.3f), compare.inOut(n));
      compare.check("scale in F32", 1, (b, t) -> b.scale(t[0], 0.3f), compare.inOut32(n));
    }
  }

  @Test
  void addBiasAddsToEveryRow() {
    compare.check(
        "addBias", 1, (b, t) -> b.addBias(t[0], t[1]), compare.inOut(37, 1003), compare.in(1003));
    refused(() -> backend.addBias(real(2, 3), real(2)), "addBias", "[3]", "[2]");
  }

  @Test
  void swigluIsExactEnoughAlsoInPlace() {
    for (int n : new int[] {1, 7, 51_003}) {
      float[] gate = compare.normal(n);
      for (int i = 0; i < n; i += 3) {
        gate[i] *= 30;
      }
      compare.check(
          "swiglu",
          4,
          (b, t) -> b.swiglu(t[0], t[1], t[2]),
          compare.out(1, n),
          compare.in(gate, 1, n),
          compare.in(1, n));
      compare.check(
          "swiglu", 4, (b, t) -> b.swiglu(t[0], t[0], t[1]), compare.inOut(n), compare.in(n));
      compare.check(
          "swiglu", 4, (b, t) -> b.swiglu(t[0], t[1], t[0]), compare.inOut(n), compare.in(n));
    }
    refused(() -> backend.swiglu(real(2), real(3), real(2)), "swiglu", "[2]", "[3]");
  }

  @Test
  void swigluIsAccurateForLargeGates() {
    DType type = backend.computeType();
    // The largest numbers of F16 end at 65504.
    float large = type == DType.F16 ? 0x1p15f : 0x1p100f;
    float smallest = type == DType.F16 ? 0x1p-24f : 1e-34f;
    float[] gate = {-100f, -88f, -50f, -20f, 0f, 20f, 88f, 100f, large};
    Tensor g = real(gate.length);
    Tensor one = real(gate.length);
    OpComparison.write(backend, g, gate);
    backend.fill(one, 1f);
    backend.swiglu(g, g, one);
    float[] got = OpComparison.readFloats(backend, g);
    for (int i = 0; i < gate.length; i++) {
      float expected = (float) (gate[i] / (1 + Math.exp(-(double) gate[i])));
      float rounded = Narrow.round(type, expected);
      float close = Math.abs(rounded) * (type == DType.F32 ? 1e-6f : 0.01f) + smallest;
      assertThat(got[i]).isCloseTo(rounded, within(close));
    }
  }

  @Test
  void addGatedAddsTheSigmoidsShare() {
    compare.check(
        "addGated",
        4,
        (b, t) -> b.addGated(t[0], t[1], t[2]),
        compare.inOut(33, 515),
        compare.in(33, 515),
        compare.in(33));
    refused(() -> backend.addGated(real(2, 3), real(2, 3), real(3)), "addGated", "[2]", "[3]");
  }

  @Test
  void gatherRowsCopiesRows() {
    compare.check(
        "gatherRows",
        1,
        (b, t) -> b.gatherRows(t[0], t[1], t[2]),
        compare.out(301, 67),
        compare.in(11, 67),
        compare.in(compare.indexes(301, 11), 301));
    compare.check(
        "gatherRows of F32",
        1,
        (b, t) -> b.gatherRows(t[0], t[1], t[2]),
        compare.out32(301, 66),
        compare.in32(11, 66),
        compare.in(compare.indexes(301, 11), 301));
    refused(
        () -> backend.gatherRows(real(2, 3), real(5, 4), i32(2)), "gatherRows", "[2, 3]", "[5, 4]");
    Tensor index = i32(2);
    OpComparison.write(backend, index, new int[] {0, 5});
    refusedAtTheLatestWhenWaiting(
        () -> backend.gatherRows(real(2, 3), real(5, 3), index), "[0, 5)", "5 at position 1");
    OpComparison.write(backend, index, new int[] {-1, 0});
    refusedAtTheLatestWhenWaiting(
        () -> backend.gatherRows(real(2, 3), real(5, 3), index), "found -1 at position 0");
  }

  @Test
  void combineRowsWeighsAndSums() {
    int rows = 91;
    int k = 3;
    int width = 259;
    for (boolean accumulate : new boolean[] {false, true}) {
      compare.check(
          "combineRows",
          k,
          (b, t) -> b.combineRows(t[0], t[1], t[2], t[3], accumulate),
          accumulate ? compare.inOut(rows, width) : compare.out(rows, width),
          compare.in(rows * k, width),
          compare.in(compare.permutation(rows * k), rows, k),
          compare.in32(rows, k));
      compare.check(
          "combineRows without weights",
          k,
          (b, t) -> b.combineRows(t[0], t[1], t[2], null, accumulate),
          accumulate ? compare.inOut(rows, width) : compare.out(rows, width),
          compare.in(rows * k, width),
          compare.in(compare.permutation(rows * k), rows, k));
    }
    refused(
        () -> backend.combineRows(real(2, 3), real(5, 3), i32(2, 2), null, false),
        "combineRows",
        "[4, 3]",
        "[5, 3]");
  }

  @ParameterizedTest
  @EnumSource(Transpose.class)
  void matmulOfOddSizes(Transpose transpose) {
    int[][] sizes = {
      {1, 1, 1}, {3, 5, 7}, {65, 129, 33}, {257, 130, 190}, {1, 300, 200}, {128, 136, 64}
    };
    for (int[] size : sizes) {
      int m = size[0];
      int n = size[1];
      int k = size[2];
      OpComparison.Operand a = transpose == Transpose.TN ? compare.in(k, m) : compare.in(m, k);
      OpComparison.Operand b = transpose == Transpose.NT ? compare.in(n, k) : compare.in(k, n);
      String what = "matmul " + transpose + " " + m + "x" + n + "x" + k;
      compare.check(
          what, k, (x, t) -> x.matmul(t[0], t[1], t[2], transpose, 0f), compare.out(m, n), a, b);
      compare.checkRoundedInside(
          what + ", beta 1",
          k,
          1,
          (x, t) -> x.matmul(t[0], t[1], t[2], transpose, 1f),
          compare.inOut(m, n),
          a,
          b);
      compare.checkRoundedInside(
          what + ", beta -0.5",
          k,
          1,
          (x, t) -> x.matmul(t[0], t[1], t[2], transpose, -0.5f),
          compare.inOut(m, n),
          a,
          b);
    }
  }

  /** Router logits are F32 products of T; weight gradients are too. */
  @ParameterizedTest
  @EnumSource(Transpose.class)
  void matmulIsMadeOfTAndF32(Transpose transpose) {
    int m = 40;
    int n = 24;
    int k = 72;
    long[] a = transpose == Transpose.TN ? new long[] {k, m} : new long[] {m, k};
    long[] b = transpose == Transpose.NT ? new long[] {n, k} : new long[] {k, n};
    compare.check(
        "matmul into F32 " + transpose,
        k,
        (x, t) -> x.matmul(t[0], t[1], t[2], transpose, 1f),
        compare.inOut32(m, n),
        compare.in(a),
        compare.in(b));
    compare.check(
        "matmul of F32 " + transpose,
        k,
        (x, t) -> x.matmul(t[0], t[1], t[2], transpose, 0f),
        compare.out32(m, n),
        compare.in32(a),
        compare.in32(b));
    compare.check(
        "matmul of F32 into T " + transpose,
        k,
        (x, t) -> x.matmul(t[0], t[1], t[2], transpose, 1f),
        compare.inOut(m, n),
        compare.in32(a),
        compare.in32(b));
  }

  @Test
  void matmulOverNothingIsZeroOrKeeps() {
    compare.check(
        "matmul, K 0",
        1,
        (b, t) -> b.matmul(t[0], t[1], t[2], Transpose.NN, 0f),
        compare.out(3, 4),
        compare.in(3, 0),
        compare.in(0, 4));
    compare.check(
        "matmul, K 0, beta 1",
        1,
        (b, t) -> b.matmul(t[0], t[1], t[2], Transpose.TN, 1f),
        compare.inOut(3, 4),
        compare.in(0, 3),
        compare.in(0, 4));
    compare.check(
        "matmul of no rows",
        1,
        (b, t) -> b.matmul(t[0], t[1], t[2], Transpose.NT, 0f),
        compare.out(0, 4),
        compare.in(0, 5),
        compare.in(4, 5));
  }

  @Test
  void matmulRefusesShapesThatDoNotFit() {
    refused(
        () -> backend.matmul(real(2, 3), real(2, 4), real(3, 5), Transpose.NT, 0f),
        "matmul NT",
        "[3, 4]",
        "[3, 5]");
    refused(
        () -> backend.matmul(real(2, 3), real(2, 4), real(3, 4), Transpose.NN, 0f),
        "[4, 3]",
        "[3, 4]");
    refused(
        () -> backend.matmul(real(2, 3), real(4, 1), real(4, 3), Transpose.TN, 0f),
        "[4, 2]",
        "[4, 1]");
    refused(() -> backend.matmul(real(2, 3), i32(2, 4), real(3, 4), Transpose.NT, 0f), "I32[2, 4]");
    refused(
        () -> backend.matmul(real(2, 3), real(8), real(3, 4), Transpose.NT, 0f),
        backend.computeType() + "[8]");
  }

  @Test
  void groupedMatmulUsesEachExpertsWeightAndKeepsOtherRows() {
    int[][] groups = {{0, 5, 5, 64, 70}, {0, 0, 0, 0, 70}, {3, 20, 21, 40, 60}, {0, 0, 0, 0, 0}};
    for (int[] offsets : groups) {
      compare.check(
          "groupedMatmul NT",
          33,
          (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NT),
          compare.inOut(70, 45),
          compare.in(70, 33),
          compare.in(4, 45, 33),
          compare.in(offsets, 5));
      compare.check(
          "groupedMatmul NN",
          45,
          (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NN),
          compare.inOut(70, 33),
          compare.in(70, 45),
          compare.in(4, 45, 33),
          compare.in(offsets, 5));
    }
    int[] offsets = {0, 130, 130, 131, 200};
    compare.check(
        "groupedMatmul NT of whole tiles",
        64,
        (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NT),
        compare.inOut(200, 136),
        compare.in(200, 64),
        compare.in(4, 136, 64),
        compare.in(offsets, 5));
    compare.check(
        "groupedMatmul NN of whole tiles",
        136,
        (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NN),
        compare.inOut(200, 64),
        compare.in(200, 136),
        compare.in(4, 136, 64),
        compare.in(offsets, 5));
  }

  /** Sums of nothing are zeros, and without experts nothing is written. */
  @Test
  void groupedMatmulOfEmptyOperands() {
    int[] offsets = {0, 16, 16, 40, 64};
    compare.check(
        "groupedMatmul NT, K 0",
        1,
        (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NT),
        compare.inOut(64, 128),
        compare.in(64, 0),
        compare.in(4, 128, 0),
        compare.in(offsets, 5));
    compare.check(
        "groupedMatmul NN, N 0",
        1,
        (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NN),
        compare.inOut(64, 128),
        compare.in(64, 0),
        compare.in(4, 0, 128),
        compare.in(offsets, 5));
    compare.check(
        "groupedMatmul without experts",
        1,
        (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NT),
        compare.inOut(64, 128),
        compare.in(64, 64),
        compare.in(0, 128, 64),
        compare.in(new int[] {0}, 1));
  }

  @Test
  void groupedMatmulRefusesBadGroups() {
    Tensor offsets = i32(3);
    OpComparison.write(backend, offsets, new int[] {0, 6, 4});
    refusedAtTheLatestWhenWaiting(
        () -> backend.groupedMatmul(real(6, 2), real(6, 3), real(2, 2, 3), offsets, Transpose.NT),
        "4 after 6");
    OpComparison.write(backend, offsets, new int[] {0, 2, 7});
    refusedAtTheLatestWhenWaiting(
        () -> backend.groupedMatmul(real(6, 2), real(6, 3), real(2, 2, 3), offsets, Transpose.NT),
        "[0, 6]",
        "found 7");
    refused(
        () -> backend.groupedMatmul(real(6, 2), real(6, 3), real(3, 2, 3), offsets, Transpose.NT),
        "I32[4]",
        "I32[3]");
    refused(
        () -> backend.groupedMatmul(real(6, 2), real(6, 3), real(2, 2, 3), offsets, Transpose.TN),
        "TN");
  }

  @Test
  void rmsNormAlsoInPlaceAndWithoutSaving() {
    for (int width : new int[] {1, 7, 64, 771, 4099}) {
      compare.check(
          "rmsNorm " + width,
          width,
          (b, t) -> b.rmsNorm(t[0], t[1], t[2], t[3], 1e-5f),
          compare.out(29, width),
          compare.out32(29),
          compare.in(29, width),
          compare.in32(width));
      compare.check(
          "rmsNorm in place " + width,
          width,
          (b, t) -> b.rmsNorm(t[0], null, t[0], t[1], 1e-6f),
          compare.inOut(29, width),
          compare.in32(width));
    }
    refused(
        () -> backend.rmsNorm(real(2, 3), f32(3), real(2, 3), f32(3), 0f), "rmsNorm", "[2]", "[3]");
  }

  @Test
  void rmsNormOfZerosIsZero() {
    Tensor x = real(2, 8);
    Tensor gain = f32(8);
    backend.fill(gain, 1f);
    backend.rmsNorm(x, null, x, gain, 1e-6f);
    assertThat(OpComparison.readFloats(backend, x)).containsOnly(0f);
  }

  @Test
  void ropeRotatesHalvesByPosition() {
    int half = 8;
    int positions = 40;
    for (int sequence : new int[] {1, 6, 30}) {
      for (boolean inverse : new boolean[] {false, true}) {
        compare.check(
            "rope, sequence " + sequence,
            2,
            (b, t) -> b.rope(t[0], 2 * half, t[1], t[2], 9, sequence, inverse),
            compare.inOut(30, 3 * 2 * half),
            compare.in32(positions, half),
            compare.in32(positions, half));
      }
    }
    refused(
        () -> backend.rope(real(6, 16), 16, f32(7, 8), f32(7, 8), 2, 6, false),
        "positions 2 to 7",
        "7");
    refused(() -> backend.rope(real(6, 15), 5, f32(7, 2), f32(7, 2), 0, 6, false), "even", "5");
    refused(() -> backend.rope(real(6, 16), 16, f32(7, 8), f32(7, 8), 0, 4, false), "6 rows", "4");
  }

  /** So that some keys have much more weight than others, and none all. */
  static float scale(int headDim) {
    return (float) (1.2 / Math.sqrt(headDim));
  }

  /** batch, Tq, Tk, query heads, KV heads, head size, window. */
  @ParameterizedTest
  @CsvSource({
    "1, 1, 1, 1, 1, 8, 0",
    "2, 5, 5, 4, 2, 6, 0",
    "1, 70, 70, 2, 1, 16, 0",
    "2, 130, 130, 4, 4, 8, 0",
    "1, 3, 700, 6, 2, 8, 0",
    "1, 66, 1100, 2, 2, 4, 0",
    "1, 600, 600, 1, 1, 4, 0",
    "2, 40, 40, 2, 1, 8, 1",
    "1, 200, 200, 4, 2, 8, 7",
    "1, 90, 1300, 2, 1, 8, 600",
    "1, 300, 300, 2, 2, 5, 1000",
    "2, 130, 130, 4, 2, 64, 0",
    "1, 70, 333, 2, 1, 128, 0",
    "1, 200, 200, 2, 2, 64, 100",
    "1, 150, 150, 2, 1, 64, 2147483647",
    "1, 150, 150, 2, 1, 8, 2147483000",
  })
  void attentionSeesEarlierKeysOnly(
      int batch, int queries, int keys, int heads, int kvHeads, int width, int window) {
    AttentionShape shape = new AttentionShape(batch, heads, kvHeads, width, scale(width), window);
    compare.checkRoundedInside(
        "attention",
        // Two sums feed one another: the scores and the weighted values.
        4L * (keys + width),
        1,
        (b, t) -> b.attention(t[0], t[1], t[2], t[3], t[4], shape),
        compare.out(batch * queries, heads * width),
        compare.out32(batch * queries, heads),
        compare.in(batch * queries, heads * width),
        compare.in(batch * keys, kvHeads * width),
        compare.in(batch * keys, kvHeads * width));
    compare.checkRoundedInside(
        "attention without log-sum-exp",
        4L * (keys + width),
        1,
        (b, t) -> b.attention(t[0], null, t[1], t[2], t[3], shape),
        compare.out(batch * queries, heads * width),
        compare.in(batch * queries, heads * width),
        compare.in(batch * keys, kvHeads * width),
        compare.in(batch * keys, kvHeads * width));
  }

  @Test
  void attentionSurvivesLargeScores() {
    AttentionShape shape = new AttentionShape(1, 2, 2, 8, 40f, 0);
    compare.checkRoundedInside(
        "attention, scores of hundreds",
        // The products reach about 500, so that 500 times their relative error is in the exponent.
        100L * 500 * 500,
        1,
        (b, t) -> b.attention(t[0], t[1], t[2], t[3], t[4], shape),
        compare.out(100, 16),
        compare.out32(100, 2),
        compare.in(100, 16),
        compare.in(100, 16),
        compare.in(100, 16));
  }

  @Test
  void attentionRefusesShapesThatDoNotFit() {
    AttentionShape shape = new AttentionShape(2, 4, 2, 8, 1f, 0);
    refused(
        () -> backend.attention(real(6, 32), null, real(6, 32), real(6, 8), real(6, 16), shape),
        "attention",
        "k",
        "[6, 16]",
        "[6, 8]");
    refused(
        () -> backend.attention(real(6, 32), null, real(6, 32), real(4, 16), real(4, 16), shape),
        "6 query rows",
        "4 key rows");
    refused(
        () -> backend.attention(real(5, 32), null, real(5, 32), real(6, 16), real(6, 16), shape),
        "batch 2");
  }

  /** Distinct multiples of 1/64 in each row: no near ties that rounding could decide. */
  float[] separated(int rows, int experts) {
    float[] logits = new float[rows * experts];
    for (int r = 0; r < rows; r++) {
      int[] order = compare.permutation(experts);
      for (int e = 0; e < experts; e++) {
        logits[r * experts + e] = order[e] / 64f * 3f;
      }
    }
    return logits;
  }

  @ParameterizedTest
  @CsvSource({"1, 1", "3, 2", "8, 8", "60, 4", "130, 8"})
  void routerTopKChoosesTheMostProbable(int experts, int k) {
    for (boolean renormalise : new boolean[] {false, true}) {
      compare.check(
          "routerTopK " + experts + " " + k,
          experts,
          (b, t) -> b.routerTopK(t[0], t[1], t[2], t[3], renormalise),
          compare.out32(41, experts),
          compare.out32(41, k),
          compare.outInts(41, k),
          compare.in32(separated(41, experts), 41, experts));
    }
  }

  @Test
  void routerTopKBreaksTiesTowardsTheLowerExpert() {
    Tensor logits = f32(2, 5);
    OpComparison.write(backend, logits, new float[] {1, 3, 3, 0, 3, 0, 0, 0, 0, 0});
    Tensor experts = i32(2, 3);
    Tensor weights = f32(2, 3);
    backend.routerTopK(f32(2, 5), weights, experts, logits, true);
    assertThat(OpComparison.readInts(backend, experts)).containsExactly(1, 2, 4, 0, 1, 2);
    for (float weight : OpComparison.readFloats(backend, weights)) {
      assertThat(weight).isBetween(0.333333f, 0.333334f);
    }
    refused(
        () -> backend.routerTopK(f32(2, 5), f32(2, 6), i32(2, 6), logits, true), "6 of 5 experts");
  }

  @Test
  void sortByExpertIsStable() {
    for (int experts : new int[] {1, 7, 64}) {
      compare.check(
          "sortByExpert " + experts,
          1,
          (b, t) -> b.sortByExpert(t[0], t[1], t[2], t[3]),
          compare.outInts(97, 4),
          compare.outInts(97 * 4),
          compare.outInts(experts + 1),
          compare.in(compare.indexes(97 * 4, experts), 97, 4));
    }
    compare.check(
        "sortByExpert of many",
        1,
        (b, t) -> b.sortByExpert(t[0], t[1], t[2], t[3]),
        compare.outInts(140_000, 2),
        compare.outInts(280_000),
        compare.outInts(6),
        compare.in(compare.indexes(280_000, 5), 140_000, 2));
    Tensor experts = i32(1, 2);
    OpComparison.write(backend, experts, new int[] {1, 2});
    refusedAtTheLatestWhenWaiting(
        () -> backend.sortByExpert(i32(1, 2), i32(2), i32(3), experts),
        "[0, 2)",
        "2 at position 1");
  }

  @Test
  void crossEntropyIgnoresNegativeTargets() {
    for (int width : new int[] {1, 10, 1025, 33_000}) {
      int[] targets = compare.indexes(9, width);
      targets[0] = -100;
      targets[7] = -1;
      targets[8] = width - 1;
      compare.check(
          "crossEntropy " + width,
          width,
          (b, t) -> b.crossEntropy(t[0], t[1], t[2], t[3], 0.25f),
          compare.out32(9),
          compare.out(9, width),
          compare.in(9, width),
          compare.in(targets, 9));
      compare.check(
          "crossEntropy in place " + width,
          width,
          (b, t) -> b.crossEntropy(t[0], t[1], t[1], t[2], 1f),
          compare.out32(9),
          compare.inOut(9, width),
          compare.in(targets, 9));
      compare.check(
          "crossEntropy without gradient " + width,
          width,
          (b, t) -> b.crossEntropy(t[0], null, t[1], t[2], 1f),
          compare.out32(9),
          compare.in(9, width),
          compare.in(targets, 9));
    }
    Tensor targets = i32(2);
    OpComparison.write(backend, targets, new int[] {0, 4});
    refusedAtTheLatestWhenWaiting(
        () -> backend.crossEntropy(f32(2), null, real(2, 4), targets, 1f), "[0, 4)", "position 1");
  }
}

package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The part of {@link BackendContract} about shapes and addresses by which an implementation may
 * choose how it computes: rows that are short, long, and of whole vectors or not; few and many of
 * them; operands that are views at any element, whose surroundings must stay.
 */
abstract class ShapesContract extends OpContract {
  /** Rows, width. */
  private static final int[][] MATRICES = {
    {500, 512}, {333, 2048}, {2100, 136}, {3, 16_384}, {77, 304}, {2, 40_000}, {2, 70_001}
  };

  /**
   * @param margin elements before and after each operand, which must stay; 1 leaves an address that
   *     is a multiple of the elements' size only
   */
  private void at(int margin) {
    compare = new OpComparison(backend, reference, SEED, margin);
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void elementWiseOpsAtAnyAddress(int margin) {
    at(margin);
    for (int n : new int[] {8, 4096, 70_003}) {
      compare.check("fill", 1, (b, t) -> b.fill(t[0], 3f), compare.out(n));
      compare.check("scale", 1, (b, t) -> b.scale(t[0], 3f), compare.inOut(n));
      compare.check(
          "add",
          1,
          (b, t) -> b.add(t[0], t[1], t[2]),
          compare.out(n),
          compare.in(n),
          compare.in(n));
      compare.check("copy", 1, (b, t) -> b.copy(t[0], t[1]), compare.out(n), compare.in(n));
      compare.check(
          "copy to F32", 1, (b, t) -> b.copy(t[0], t[1]), compare.out32(n), compare.in(n));
      compare.check(
          "copy from F32", 1, (b, t) -> b.copy(t[0], t[1]), compare.out(n), compare.in32(n));
      compare.check(
          "swiglu",
          4,
          (b, t) -> b.swiglu(t[0], t[1], t[2]),
          compare.out(n),
          compare.in(n),
          compare.in(n));
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
          "sumSquares", n, (b, t) -> b.sumSquares(t[0], t[1]), compare.out32(1), compare.in32(n));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void biasGateAndSumsOfAnyShape(int margin) {
    at(margin);
    for (int[] matrix : MATRICES) {
      int rows = matrix[0];
      int width = matrix[1];
      String shape = " " + rows + "x" + width;
      compare.check(
          "addBias" + shape,
          1,
          (b, t) -> b.addBias(t[0], t[1]),
          compare.inOut(rows, width),
          compare.in(width));
      compare.check(
          "addBiasBackward" + shape,
          rows,
          (b, t) -> b.addBiasBackward(t[0], t[1]),
          compare.inOut32(width),
          compare.in(rows, width));
      compare.check(
          "sumRows" + shape,
          rows,
          (b, t) -> b.sumRows(t[0], t[1]),
          compare.out32(width),
          compare.in32(rows, width));
      compare.check(
          "addGated" + shape,
          4,
          (b, t) -> b.addGated(t[0], t[1], t[2]),
          compare.inOut(rows, width),
          compare.in(rows, width),
          compare.in(rows));
      compare.check(
          "addGatedBackward" + shape,
          width,
          (b, t) -> b.addGatedBackward(t[0], t[1], t[2], t[3], t[4]),
          compare.out(rows, width),
          compare.out(rows),
          compare.in(rows, width),
          compare.in(rows, width),
          compare.in(rows));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void normsOfAnyShape(int margin) {
    at(margin);
    for (int[] matrix : MATRICES) {
      int rows = matrix[0];
      int width = matrix[1];
      String shape = " " + rows + "x" + width;
      compare.check(
          "rmsNorm" + shape,
          width,
          (b, t) -> b.rmsNorm(t[0], t[1], t[2], t[3], 1e-5f),
          compare.out(rows, width),
          compare.out32(rows),
          compare.in(rows, width),
          compare.in32(width));
      compare.check(
          "rmsNormBackward" + shape,
          width + rows,
          (b, t) -> b.rmsNormBackward(t[0], t[1], t[0], t[2], t[3], t[4]),
          compare.inOut(rows, width),
          compare.inOut32(width),
          compare.in(rows, width),
          compare.in32(width),
          compare.in32(rows));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void ropeOfAnyShape(int margin) {
    at(margin);
    for (int half : new int[] {3, 16, 64}) {
      compare.check(
          "rope, half " + half,
          2,
          (b, t) -> b.rope(t[0], 2 * half, t[1], t[2], 2, 8, false),
          compare.inOut(32, 7 * 2 * half),
          compare.in32(10, half),
          compare.in32(10, half));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void rowsByIndexOfAnyShape(int margin) {
    at(margin);
    int k = 6;
    for (int[] matrix : MATRICES) {
      int rows = matrix[0];
      int width = matrix[1];
      String shape = " " + rows + "x" + width;
      int[] slots = compare.permutation(rows * k);
      compare.check(
          "gatherRows" + shape,
          1,
          (b, t) -> b.gatherRows(t[0], t[1], t[2]),
          compare.out(rows, width),
          compare.in(5, width),
          compare.in(compare.indexes(rows, 5), rows));
      compare.check(
          "combineRows" + shape,
          k,
          (b, t) -> b.combineRows(t[0], t[1], t[2], t[3], true),
          compare.inOut(rows, width),
          compare.in(rows * k, width),
          compare.in(slots, rows, k),
          compare.in32(rows, k));
      compare.check(
          "combineRowsBackward" + shape,
          width,
          (b, t) -> b.combineRowsBackward(t[0], t[1], t[2], t[0], t[3], t[4]),
          compare.inOut(rows * k, width),
          compare.out32(rows, k),
          compare.in(rows, width),
          compare.in(slots, rows, k),
          compare.in32(rows, k));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void scatterAddRowsOfAnyShape(int margin) {
    at(margin);
    // Rows, width, rows of the table: rows that all come often, one that does, and a vocabulary.
    int[][] sizes = {
      {3000, 40, 5},
      {100, 304, 1},
      {5000, 12, 70_000},
      {33, 1032, 2},
      {64, 7, 3},
      {300, 2052, 2}
    };
    for (int[] size : sizes) {
      int rows = size[0];
      int width = size[1];
      int table = size[2];
      int[] index = compare.indexes(rows, table);
      for (int i = 0; i < rows; i += 3) {
        index[i] = table - 1;
      }
      compare.check(
          "scatterAddRows " + rows + "x" + width + " to " + table,
          rows,
          (b, t) -> b.scatterAddRows(t[0], t[1], t[2]),
          compare.inOut32(table, width),
          compare.in(rows, width),
          compare.in(index, rows));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void routersOfAnySize(int margin) {
    at(margin);
    // Rows, experts, chosen.
    int[][] sizes = {{3000, 24, 2}, {2000, 64, 6}, {300, 200, 8}, {70, 700, 40}, {50, 1365, 4}};
    for (int[] size : sizes) {
      int rows = size[0];
      int experts = size[1];
      int k = size[2];
      String shape = " " + rows + "x" + experts + ", " + k;
      compare.check(
          "routerTopK" + shape,
          experts,
          (b, t) -> b.routerTopK(t[0], t[1], t[2], t[3], true),
          compare.out32(rows, experts),
          compare.out32(rows, k),
          compare.outInts(rows, k),
          compare.in32(separated(rows, experts), rows, experts));
      compare.check(
          "sortByExpert" + shape,
          1,
          (b, t) -> b.sortByExpert(t[0], t[1], t[2], t[3]),
          compare.outInts(rows, k),
          compare.outInts(rows * k),
          compare.outInts(experts + 1),
          compare.in(compare.indexes(rows * k, experts), rows, k));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void crossEntropyOfAnyVocabulary(int margin) {
    at(margin);
    for (int width : new int[] {256, 12_288, 24_576, 50_257, 128_256}) {
      compare.check(
          "crossEntropy " + width,
          width,
          (b, t) -> b.crossEntropy(t[0], t[1], t[1], t[2], 0.5f),
          compare.out32(4),
          compare.inOut(4, width),
          compare.in(new int[] {0, -100, width - 1, width / 2}, 4));
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void adamWAtAnyAddress(int margin) {
    at(margin);
    AdamWStep step = new AdamWStep(1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 3, 1f);
    for (int n : new int[] {64, 4099}) {
      float[] second = compare.normal(n);
      for (int i = 0; i < n; i++) {
        second[i] *= second[i];
      }
      compare.check(
          "adamW " + n,
          8,
          (b, t) -> adamW(b, t, margin, step),
          compare.inOut32(n),
          compare.inOut32(n),
          compare.inOut32(second, n),
          compare.in32(n));
    }
  }

  /**
   * With a working copy where there must be one.
   *
   * @param margin elements before it in its memory
   */
  static void adamW(TrainingBackend b, Tensor[] t, int margin, AdamWStep step) {
    if (b.computeType() == DType.F32) {
      b.adamW(t[0], t[1], t[2], t[3], null, step);
      return;
    }
    long n = t[0].shape().rows();
    try (Tensor memory = b.allocate(b.computeType(), Shape.of(margin + n))) {
      Tensor working = memory.rows(margin, n);
      b.adamW(t[0], t[1], t[2], t[3], working, step);
      float[] param = OpComparison.readFloats(b, t[0]);
      float[] rounded = OpComparison.readFloats(b, working);
      for (int i = 0; i < param.length; i++) {
        assertThat(rounded[i])
            .as("working copy of %s", param[i])
            .isEqualTo(Narrow.round(b.computeType(), param[i]));
      }
    }
  }
}

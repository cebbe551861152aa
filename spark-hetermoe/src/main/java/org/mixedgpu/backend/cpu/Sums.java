package org.mixedgpu.backend.cpu;

import jdk.incubator.vector.FloatVector;

/**
 * Sums whose order, and so whose bits, depend on the length only: lanes of F32 over pieces, pieces
 * in double. (The vector library leaves the order of its own reduction open.)
 */
final class Sums {
  /** Elements per piece: sums of a lane have at most 1024 / 4 / lanes terms. */
  static final int PIECE = 1024;

  private static final int LANES = Maths.LANES;
  private static final int STEP = 4 * LANES;

  private Sums() {}

  /** The lanes in ascending order, in double. */
  static double lanes(FloatVector sum) {
    double total = 0;
    for (int lane = 0; lane < LANES; lane++) {
      total += sum.lane(lane);
    }
    return total;
  }

  static double dot(float[] a, float[] b, int count) {
    double sum = 0;
    int i = 0;
    while (count - i >= STEP) {
      int end = i + Math.min((count - i) / STEP * STEP, PIECE);
      sum += dotPiece(a, b, i, end);
      i = end;
    }
    for (; i < count; i++) {
      sum += (double) a[i] * b[i];
    }
    return sum;
  }

  /** Four sums at a time, because one alone would wait for its own last addition. */
  private static double dotPiece(float[] a, float[] b, int from, int end) {
    FloatVector sum0 = Maths.vector(0f);
    FloatVector sum1 = sum0;
    FloatVector sum2 = sum0;
    FloatVector sum3 = sum0;
    for (int i = from; i < end; i += STEP) {
      sum0 = load(a, i).fma(load(b, i), sum0);
      sum1 = load(a, i + LANES).fma(load(b, i + LANES), sum1);
      sum2 = load(a, i + 2 * LANES).fma(load(b, i + 2 * LANES), sum2);
      sum3 = load(a, i + 3 * LANES).fma(load(b, i + 3 * LANES), sum3);
    }
    return lanes(sum0.add(sum1).add(sum2.add(sum3)));
  }

  private static FloatVector load(float[] x, int i) {
    return FloatVector.fromArray(Maths.FLOATS, x, i);
  }

  static double squares(float[] x, int count) {
    return dot(x, x, count);
  }
}

package org.mixedgpu.backend.cpu;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/** The parts of a softmax over a row in an array. */
final class Softmax {
  private static final int LANES = Maths.LANES;

  private Softmax() {}

  /** The largest of x[from..to); NaN is passed over, and shows in the exponentials. */
  static float max(float[] x, int from, int to) {
    float max = Float.NEGATIVE_INFINITY;
    int i = from;
    if (to - from >= 2 * LANES) {
      FloatVector best = FloatVector.fromArray(Maths.FLOATS, x, from);
      for (i += LANES; i <= to - LANES; i += LANES) {
        FloatVector next = FloatVector.fromArray(Maths.FLOATS, x, i);
        best = best.blend(next, next.compare(VectorOperators.GT, best));
      }
      for (int lane = 0; lane < LANES; lane++) {
        max = Math.max(max, orLowest(best.lane(lane)));
      }
    }
    for (; i < to; i++) {
      max = Math.max(max, orLowest(x[i]));
    }
    return max;
  }

  private static float orLowest(float x) {
    return Float.isNaN(x) ? Float.NEGATIVE_INFINITY : x;
  }

  /** x[i] = e^(x[i] - maximum) for i in [from, to); returns their sum. */
  static double expAndSum(float[] x, int from, int to, float maximum) {
    double sum = 0;
    int i = from;
    // In pieces: sums of a lane stay short, and their total is in double.
    while (to - i >= LANES) {
      int end = i + Math.min((to - i) / LANES * LANES, Sums.PIECE);
      sum += expAndSumPiece(x, i, end, maximum);
      i = end;
    }
    for (; i < to; i++) {
      x[i] = Maths.exp(x[i] - maximum);
      sum += x[i];
    }
    return sum;
  }

  private static double expAndSumPiece(float[] x, int from, int end, float maximum) {
    FloatVector sum = Maths.vector(0f);
    for (int i = from; i < end; i += LANES) {
      FloatVector e = Maths.exp(FloatVector.fromArray(Maths.FLOATS, x, i).sub(maximum));
      e.intoArray(x, i);
      sum = sum.add(e);
    }
    return Sums.lanes(sum);
  }

  /** x[i] = e^(x[i] - maximum) for i in [from, to). */
  static void exp(float[] x, int from, int to, float maximum) {
    int i = from;
    for (; i <= to - LANES; i += LANES) {
      Maths.exp(FloatVector.fromArray(Maths.FLOATS, x, i).sub(maximum)).intoArray(x, i);
    }
    for (; i < to; i++) {
      x[i] = Maths.exp(x[i] - maximum);
    }
  }

  static void scale(float[] x, int count, float factor) {
    for (int i = 0; i < count; i++) {
      x[i] *= factor;
    }
  }
}

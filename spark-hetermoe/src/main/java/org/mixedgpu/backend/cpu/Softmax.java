package org.mixedgpu.backend.cpu;

/** Exponentials of a row and their sum. */
final class Softmax {
  private Softmax() {}

  /** x[i] = e^(x[i] - maximum) for i in [from, to); returns their sum. */
  static double expAndSum(float[] x, int from, int to, float maximum) {
    double sum = 0;
    for (int i = from; i < to; i++) {
      x[i] = Maths.exp(x[i] - maximum);
      sum += x[i];
    }
    return sum;
  }

  /** x[i] = e^(x[i] - maximum) for i in [from, to). */
  static void exp(float[] x, int from, int to, float maximum) {
    for (int i = from; i < to; i++) {
      x[i] = Maths.exp(x[i] - maximum);
    }
  }

  static void scale(float[] x, int count, float factor) {
    for (int i = 0; i < count; i++) {
      x[i] *= factor;
    }
  }
}

package org.mixedgpu.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.Random;
import jdk.incubator.vector.FloatVector;
import org.junit.jupiter.api.Test;

class MathsTest {
  private static final float[] SPECIAL = {
    0f,
    -0f,
    1f,
    -1f,
    -86.99f,
    -87f,
    -87.01f,
    -1000f,
    88f,
    1e-30f,
    Float.MIN_VALUE,
    Float.NEGATIVE_INFINITY,
    Float.NaN,
    0.34657f,
    -0.34658f,
    5e-8f
  };

  @Test
  void expIsWithinTwoUnitsInTheLastPlace() {
    Random random = new Random(3);
    for (int i = 0; i < 500_000; i++) {
      float x = random.nextFloat() * 175f - 87f;
      double expected = Math.exp(x);
      assertThat(Math.abs(Maths.exp(x) - expected))
          .as("exp(%s)", x)
          .isLessThanOrEqualTo(2 * Math.ulp((float) expected));
    }
  }

  @Test
  void expOfSpecialValues() {
    assertThat(Maths.exp(0f)).isEqualTo(1f);
    assertThat(Maths.exp(-0f)).isEqualTo(1f);
    assertThat(Maths.exp(-87.5f)).isZero();
    assertThat(Maths.exp(Float.NEGATIVE_INFINITY)).isZero();
    assertThat(Maths.exp(Float.NaN)).isNaN();
    assertThat(Maths.sigmoid(1e30f)).isEqualTo(1f);
    assertThat(Maths.sigmoid(-1e30f)).isZero();
    assertThat(Maths.sigmoid(0f)).isEqualTo(0.5f);
    assertThat(Maths.sigmoid(Float.NaN)).isNaN();
  }

  /** The vectors' bits are the elements' bits, first in the interpreter and then compiled. */
  @Test
  void vectorsGiveTheBitsOfElements() {
    Random random = new Random(4);
    float[] x = new float[1024];
    for (int round = 0; round < 300; round++) {
      for (int i = 0; i < x.length; i++) {
        x[i] = i < SPECIAL.length ? SPECIAL[i] : random.nextFloat() * 174f - 87f;
      }
      float[] exp = new float[x.length];
      float[] sigmoid = new float[x.length];
      for (int i = 0; i < x.length; i += Maths.LANES) {
        FloatVector v = FloatVector.fromArray(Maths.FLOATS, x, i);
        Maths.exp(v).intoArray(exp, i);
        Maths.sigmoid(v).intoArray(sigmoid, i);
      }
      for (int i = 0; i < x.length; i++) {
        assertThat(Float.compare(exp[i], Maths.exp(x[i]))).as("exp(%s)", x[i]).isZero();
        assertThat(Float.compare(sigmoid[i], Maths.sigmoid(x[i]))).as("%s", x[i]).isZero();
      }
    }
  }

  @Test
  void sumsAreOfAllElementsAtEveryLength() {
    Random random = new Random(5);
    for (int count : new int[] {0, 1, 7, 31, 32, 33, 64, 1023, 1024, 1025, 5000}) {
      float[] a = new float[count];
      float[] b = new float[count];
      double expected = 0;
      float largest = Float.NEGATIVE_INFINITY;
      for (int i = 0; i < count; i++) {
        // Small integers: every order of summation is exact.
        a[i] = random.nextInt(17) - 8;
        b[i] = random.nextInt(17) - 8;
        expected += (double) a[i] * b[i];
        largest = Math.max(largest, a[i]);
      }
      assertThat(Sums.dot(a, b, count)).isEqualTo(expected);
      assertThat(Softmax.max(a, 0, count)).isEqualTo(largest);
    }
  }

  @Test
  void softmaxKeepsToItsRange() {
    for (int from : new int[] {0, 3}) {
      for (int to : new int[] {3, 20, 1100}) {
        float[] x = new float[1200];
        Arrays.fill(x, 1f);
        double sum = Softmax.expAndSum(x, from, to, 1f);
        assertThat(sum).isEqualTo(to - from);
        float[] y = new float[1200];
        Arrays.fill(y, -3f);
        Softmax.exp(y, from, to, -3f);
        for (int i = 0; i < y.length; i++) {
          assertThat(y[i]).isEqualTo(i >= from && i < to ? 1f : -3f);
        }
      }
    }
  }

  @Test
  void nanShowsInASoftmax() {
    float[] x = new float[40];
    x[21] = Float.NaN;
    assertThat(Softmax.max(x, 0, 40)).isZero();
    assertThat(Softmax.expAndSum(x, 0, 40, 0f)).isNaN();
  }
}

package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.OpComparison.Op;
import org.mixedgpu.backend.OpComparison.Operand;

/**
 * Proves the definition itself: each backward op of {@link ReferenceBackend} against the numerical
 * gradient of its forward op, by central differences of L = Σ random · output. Results are rounded
 * to F32, so a difference of 2h has an error of about 1e-7/h; with h = 1e-2 that and the curvature
 * stay below 1e-3 of a gradient of size 1.
 */
class ReferenceGradientTest {
  private static final float STEP = 1e-2f;
  private static final double TOLERANCE = 2e-3;

  private final ReferenceBackend backend = new ReferenceBackend();
  private final OpComparison make =
      new OpComparison(backend, backend, new Random(20261122).nextLong());

  @AfterEach
  void close() {
    backend.close();
  }

  /** The numerical gradient of Σ dOut · forward's output 0 by one of its operands. */
  private float[] numerical(Op forward, float[] dOut, int by, Operand... operands) {
    float[] values = operands[by].floats();
    float[] gradient = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      float[] up = values.clone();
      float[] down = values.clone();
      up[i] += STEP;
      down[i] -= STEP;
      double step = (double) up[i] - down[i];
      gradient[i] =
          (float)
              ((loss(forward, dOut, by, up, operands) - loss(forward, dOut, by, down, operands))
                  / step);
    }
    return gradient;
  }

  private double loss(Op forward, float[] dOut, int by, float[] values, Operand... operands) {
    Operand[] changed = operands.clone();
    changed[by] = new Operand(operands[by].role(), true, operands[by].shape(), values, null);
    float[] out = (float[]) OpComparison.run(backend, forward, changed)[0];
    double sum = 0;
    for (int i = 0; i < out.length; i++) {
      sum += (double) out[i] * dOut[i];
    }
    return sum;
  }

  private static void agree(Object got, float[] expected, String what) {
    float[] analytic = (float[]) got;
    assertThat(analytic).as(what).hasSameSizeAs(expected);
    for (int i = 0; i < expected.length; i++) {
      double limit = TOLERANCE * (1 + Math.abs(expected[i]));
      if (!(Math.abs(analytic[i] - expected[i]) <= limit)) {
        throw new AssertionError(
            what + " at " + i + ": analytic " + analytic[i] + ", numerical " + expected[i]);
      }
    }
  }

  @Test
  void aWrongGradientIsFound() {
    float[] right = {1, 2, 3};
    for (int i = 0; i < 3; i++) {
      float[] wrong = right.clone();
      wrong[i] *= 1.01f;
      assertThatThrownBy(() -> agree(wrong, right, "planted")).hasMessageContaining("planted at");
    }
  }

  @Test
  void swiglu() {
    Operand gate = make.in(20);
    Operand up = make.in(20);
    float[] dOut = make.normal(20);
    Op forward = (b, t) -> b.swiglu(t[0], t[1], t[2]);
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) -> b.swigluBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
            make.out(20),
            make.out(20),
            make.out(20),
            make.in(dOut, 20),
            gate,
            up);
    agree(got[0], numerical(forward, dOut, 1, make.out(20), gate, up), "dGate");
    agree(got[1], numerical(forward, dOut, 2, make.out(20), gate, up), "dUp");
  }

  @Test
  void addGated() {
    Operand x = make.in(4, 3);
    Operand gate = make.in(4);
    Operand before = make.inOut(4, 3);
    float[] dOut = make.normal(4, 3);
    Op forward = (b, t) -> b.addGated(t[0], t[1], t[2]);
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) -> b.addGatedBackward(t[0], t[1], t[2], t[3], t[4]),
            make.out(4, 3),
            make.out(4),
            make.in(dOut, 4, 3),
            x,
            gate);
    agree(got[0], numerical(forward, dOut, 1, before, x, gate), "dX");
    agree(got[1], numerical(forward, dOut, 2, before, x, gate), "dGate");
  }

  @Test
  void rmsNorm() {
    Operand x = make.in(5, 6);
    Operand gain = make.in(6);
    float[] dOut = make.normal(5, 6);
    Op forward = (b, t) -> b.rmsNorm(t[0], t[1], t[2], t[3], 1e-3f);
    Object[] saved = OpComparison.run(backend, forward, make.out(5, 6), make.out(5), x, gain);
    float[] zeros = new float[6];
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) -> b.rmsNormBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
            make.out(5, 6),
            make.inOut(zeros, 6),
            make.in(dOut, 5, 6),
            x,
            gain,
            make.in((float[]) saved[1], 5));
    agree(got[0], numerical(forward, dOut, 2, make.out(5, 6), make.out(5), x, gain), "dX");
    agree(got[1], numerical(forward, dOut, 3, make.out(5, 6), make.out(5), x, gain), "dGain");
  }

  @Test
  void ropeBackwardIsItsInverse() {
    double[] angles = {0.3, 1.1, 2.0, 0.7, -0.4, 3.0};
    float[] cos = new float[6];
    float[] sin = new float[6];
    for (int i = 0; i < 6; i++) {
      cos[i] = (float) Math.cos(angles[i]);
      sin[i] = (float) Math.sin(angles[i]);
    }
    Operand x = make.inOut(3, 8);
    float[] dOut = make.normal(3, 8);
    Op forward = (b, t) -> b.rope(t[0], 4, t[1], t[2], 0, 3, false);
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) -> b.rope(t[0], 4, t[1], t[2], 0, 3, true),
            make.inOut(dOut, 3, 8),
            make.in(cos, 3, 2),
            make.in(sin, 3, 2));
    agree(got[0], numerical(forward, dOut, 0, x, make.in(cos, 3, 2), make.in(sin, 3, 2)), "dX");
  }

  @Test
  void attention() {
    for (int window : new int[] {0, 2}) {
      AttentionShape shape = new AttentionShape(2, 4, 2, 3, 0.5f, window);
      Operand q = make.in(6, 12);
      Operand k = make.in(10, 6);
      Operand v = make.in(10, 6);
      float[] dOut = make.normal(6, 12);
      Op forward = (b, t) -> b.attention(t[0], t[1], t[2], t[3], t[4], shape);
      Operand[] operands = {make.out(6, 12), make.out(6, 4), q, k, v};
      Object[] saved = OpComparison.run(backend, forward, operands);
      Object[] got =
          OpComparison.run(
              backend,
              (b, t) ->
                  b.attentionBackward(t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], shape),
              make.out(6, 12),
              make.out(10, 6),
              make.out(10, 6),
              make.in(dOut, 6, 12),
              q,
              k,
              v,
              make.in((float[]) saved[0], 6, 12),
              make.in((float[]) saved[1], 6, 4));
      agree(got[0], numerical(forward, dOut, 2, operands), "dQ");
      agree(got[1], numerical(forward, dOut, 3, operands), "dK");
      agree(got[2], numerical(forward, dOut, 4, operands), "dV");
    }
  }

  @Test
  void crossEntropy() {
    Operand logits = make.in(4, 5);
    Operand targets = make.in(new int[] {0, 4, -100, 2}, 4);
    float[] ones = new float[4];
    Arrays.fill(ones, 0.25f);
    Op forward = (b, t) -> b.crossEntropy(t[0], null, t[1], t[2], 1f);
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) -> b.crossEntropy(t[0], t[1], t[2], t[3], 0.25f),
            make.out(4),
            make.out(4, 5),
            logits,
            targets);
    agree(got[1], numerical(forward, ones, 1, make.out(4), logits, targets), "dLogits");
  }

  @Test
  void gatherRows() {
    Operand table = make.in(4, 3);
    Operand index = make.in(new int[] {1, 3, 1, 0, 1}, 5);
    float[] dOut = make.normal(5, 3);
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) -> b.scatterAddRows(t[0], t[1], t[2]),
            make.inOut(new float[12], 4, 3),
            make.in(dOut, 5, 3),
            index);
    Op forward = (b, t) -> b.gatherRows(t[0], t[1], t[2]);
    agree(got[0], numerical(forward, dOut, 1, make.out(5, 3), table, index), "dTable");
  }

  @Test
  void combineRows() {
    Operand slots = make.in(6, 4);
    Operand slotOf = make.in(new int[] {3, 0, 5, 1, 2, 4}, 3, 2);
    Operand weights = make.in(3, 2);
    float[] dOut = make.normal(3, 4);
    Op forward = (b, t) -> b.combineRows(t[0], t[1], t[2], t[3], false);
    Object[] got =
        OpComparison.run(
            backend,
            (b, t) -> b.combineRowsBackward(t[0], t[1], t[2], t[3], t[4], t[5]),
            make.out(6, 4),
            make.out(3, 2),
            make.in(dOut, 3, 4),
            slots,
            slotOf,
            weights);
    Operand[] operands = {make.out(3, 4), slots, slotOf, weights};
    agree(got[0], numerical(forward, dOut, 1, operands), "dSlots");
    agree(got[1], numerical(forward, dOut, 3, operands), "dWeights");
  }

  @Test
  void groupedMatmul() {
    Operand in = make.in(5, 3);
    Operand w = make.in(3, 2, 3);
    Operand offsets = make.in(new int[] {0, 2, 2, 5}, 4);
    float[] dOut = make.normal(5, 2);
    Op forward = (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NT);
    Operand[] operands = {make.out(5, 2), in, w, offsets};
    Object[] dIn =
        OpComparison.run(
            backend,
            (b, t) -> b.groupedMatmul(t[0], t[1], t[2], t[3], Transpose.NN),
            make.out(5, 3),
            make.in(dOut, 5, 2),
            w,
            offsets);
    Object[] dW =
        OpComparison.run(
            backend,
            (b, t) -> b.groupedMatmulWeightGradient(t[0], t[1], t[2], t[3], false),
            make.out32(3, 2, 3),
            make.in(dOut, 5, 2),
            in,
            offsets);
    agree(dIn[0], numerical(forward, dOut, 1, operands), "dIn");
    agree(dW[0], numerical(forward, dOut, 2, operands), "dW");
  }

  /** Σ dW · weights + Σ aux · p + zScale/2 · logsumexp², whose gradient routerBackward gives. */
  @Test
  void router() {
    float zScale = 0.3f;
    for (boolean renormalise : new boolean[] {false, true}) {
      // Far apart, so that a step of h does not change the choice.
      Operand logits = make.in(new float[] {0.1f, 0.9f, -0.5f, 0.5f, 1.3f, -1f, 0.2f, 0.8f}, 2, 4);
      Operand aux = make.in(4);
      float[] dWeights = make.normal(2, 2);
      Operand[] operands = {make.out(2, 4), make.out(2, 2), make.outInts(2, 2), logits};
      Op forward = (b, t) -> b.routerTopK(t[0], t[1], t[2], t[3], renormalise);
      Object[] saved = OpComparison.run(backend, forward, operands);
      Object[] got =
          OpComparison.run(
              backend,
              (b, t) ->
                  b.routerBackward(t[0], t[1], t[2], t[3], t[4], t[5], renormalise, t[6], zScale),
              make.out(2, 4),
              make.in(dWeights, 2, 2),
              make.in((float[]) saved[0], 2, 4),
              make.in((float[]) saved[1], 2, 2),
              make.in((int[]) saved[2], 2, 2),
              logits,
              aux);
      float[] expected = new float[8];
      for (int i = 0; i < 8; i++) {
        float[] up = logits.floats().clone();
        float[] down = logits.floats().clone();
        up[i] += STEP;
        down[i] -= STEP;
        expected[i] =
            (float)
                ((routerLoss(forward, up, aux.floats(), dWeights, zScale)
                        - routerLoss(forward, down, aux.floats(), dWeights, zScale))
                    / ((double) up[i] - down[i]));
      }
      agree(got[0], expected, "dLogits, renormalise " + renormalise);
    }
  }

  private double routerLoss(
      Op forward, float[] logits, float[] aux, float[] dWeights, float zScale) {
    Object[] got =
        OpComparison.run(
            backend,
            forward,
            make.out(2, 4),
            make.out(2, 2),
            make.outInts(2, 2),
            make.in(logits, 2, 4));
    double loss = 0;
    for (int i = 0; i < 4; i++) {
      loss += (double) dWeights[i] * ((float[]) got[1])[i];
    }
    for (int r = 0; r < 2; r++) {
      double sum = 0;
      for (int e = 0; e < 4; e++) {
        loss += (double) aux[e] * ((float[]) got[0])[r * 4 + e];
        sum += Math.exp(logits[r * 4 + e]);
      }
      loss += zScale / 2 * Math.log(sum) * Math.log(sum);
    }
    return loss;
  }
}

package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Random;
import java.util.function.ToIntFunction;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** The contract finds what is wrong with a device of 16 bits, however wide its tolerances are. */
class PlantedFaultsTest {
  private static final AttentionShape SHAPE = new AttentionShape(1, 2, 1, 8, 0.3f, 0);

  /** Each op below has one thing wrong. */
  private static final class Wrong extends RoundingBackend {
    private Tensor newest;

    Wrong(DType type) {
      super(type);
    }

    @Override
    public Tensor allocate(DType type, Shape shape) {
      newest = super.allocate(type, shape);
      return newest;
    }

    /** One element too many, behind the last operand. */
    @Override
    public void add(Tensor out, Tensor a, Tensor b) {
      super.add(out, a, b);
      super.fill(newest.rows(newest.shape().rows() - 1, 1), 1f);
    }

    /** Two units in the last place, in a single element. */
    @Override
    public void scale(Tensor x, float factor) {
      super.scale(x, factor);
      super.scale(x.rows(7, 1), computeType() == DType.BF16 ? 1 + 0x1p-6f : 1 + 0x1p-9f);
    }

    /** One input is written to. */
    @Override
    public void swiglu(Tensor out, Tensor gate, Tensor up) {
      super.swiglu(out, gate, up);
      super.fill(up.rows(3, 1), 0f);
    }

    /** The last row is forgotten. */
    @Override
    public void addBias(Tensor x, Tensor bias) {
      super.addBias(x.rows(0, x.shape().rows() - 1), bias);
    }

    /** One term of the sum is missing. */
    @Override
    public void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose, float beta) {
      super.fill(a.rows(a.shape().rows() - 1, 1), 0f);
      super.matmul(out, a, b, transpose, beta);
    }

    /** The last key is not seen. */
    @Override
    public void attention(
        Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
      super.fill(v.rows(v.shape().rows() - 1, 1), 0f);
      super.attention(out, logSumExp, q, k, v, shape);
    }

    /** Gradients in 16 bits: added up with a rounding each time. */
    @Override
    public void addBiasBackward(Tensor dBias, Tensor dOut) {
      super.addBiasBackward(dBias, dOut);
      try (Tensor rounded = allocate(computeType(), dBias.shape())) {
        copy(rounded, dBias);
        copy(dBias, rounded);
      }
    }
  }

  private static OpComparison comparison(TrainingBackend wrong, ReferenceBackend reference) {
    return new OpComparison(wrong, reference, 3);
  }

  private static void found(Runnable check, String words) {
    assertThatThrownBy(check::run).isInstanceOf(AssertionError.class).hasMessageContaining(words);
  }

  @ParameterizedTest
  @EnumSource(names = {"BF16", "F16"})
  void eachIsFound(DType type) {
    try (TrainingBackend wrong = new Wrong(type);
        ReferenceBackend reference = new ReferenceBackend()) {
      OpComparison compare = comparison(wrong, reference);
      OpComparison views = new OpComparison(wrong, reference, 3, 1);
      found(
          () ->
              views.check(
                  "add",
                  1,
                  (b, t) -> b.add(t[0], t[1], t[2]),
                  views.out(20),
                  views.in(20),
                  views.in(20)),
          "outside of its operand 2");
      found(
          () -> compare.check("scale", 1, (b, t) -> b.scale(t[0], 3f), compare.inOut(20)),
          "1 of 20 elements differ; the worst, at 7");
      found(
          () ->
              compare.check(
                  "swiglu",
                  4,
                  (b, t) -> b.swiglu(t[0], t[1], t[2]),
                  compare.out(20),
                  compare.in(20),
                  compare.in(20)),
          "is an input: at 3");
      found(
          () ->
              compare.check(
                  "addBias",
                  1,
                  (b, t) -> b.addBias(t[0], t[1]),
                  compare.inOut(5, 9),
                  compare.in(9)),
          "9 of 45 elements differ");
      found(
          () ->
              compare.check(
                  "matmul",
                  60,
                  (b, t) -> b.matmul(t[0], t[1], t[2], Transpose.TN, 0f),
                  compare.out(9, 9),
                  compare.inOut(60, 9),
                  compare.in(60, 9)),
          "operand 0 [9, 9]");
      found(
          () ->
              compare.checkRoundedInside(
                  "attention",
                  200,
                  1,
                  (b, t) -> b.attention(t[0], null, t[1], t[2], t[3], SHAPE),
                  compare.out(30, 16),
                  compare.in(30, 16),
                  compare.in(30, 8),
                  compare.inOut(30, 8)),
          "operand 0 [30, 16]");
      found(
          () ->
              compare.check(
                  "addBiasBackward",
                  50,
                  (b, t) -> b.addBiasBackward(t[0], t[1]),
                  compare.inOut32(9),
                  compare.in(50, 9)),
          "operand 0 [9]");
    }
  }

  @ParameterizedTest
  @EnumSource(names = {"BF16", "F16"})
  void oneRoundingPassesTwoDoNot(DType type) {
    float half = type == DType.BF16 ? 0x1p-8f : 0x1p-11f;
    Tolerance tolerance = new Tolerance(1, type, 0, 1);
    float[] expected = {1f, -2f};
    float[] rounded = {1 + half, -2 - 2 * half};
    assertThatCode(() -> Closeness.check(rounded, expected, tolerance, "x"))
        .doesNotThrowAnyException();
    float[] twice = {1 + 2 * half, -2};
    found(() -> Closeness.check(twice, expected, tolerance, "x"), "1 of 2 elements differ");
  }

  /** For some seeds the terms of a single result cancel: no fault, but half of them missing is. */
  @Test
  void oneResultWhoseTermsCancel() {
    try (TrainingBackend cpu = Backends.cpu(new CpuOptions(1, 1 << 20));
        ReferenceBackend reference = new ReferenceBackend()) {
      for (int seed = 0; seed < 2000; seed++) {
        OpComparison compare = new OpComparison(cpu, reference, seed);
        gainGradient(compare, b -> 66);
        found(() -> gainGradient(compare, b -> b == cpu ? 33 : 66), "operand 0 [1]");
      }
    }
  }

  private static void gainGradient(OpComparison compare, ToIntFunction<Backend> rows) {
    compare.check(
        "rmsNormBackward",
        67,
        (b, t) -> {
          int n = rows.applyAsInt(b);
          b.rmsNormBackward(
              t[1].rows(0, n), t[0], t[2].rows(0, n), t[3].rows(0, n), t[4], t[5].rows(0, n));
        },
        compare.inOut32(1),
        compare.out(66, 1),
        compare.in(66, 1),
        compare.in(66, 1),
        compare.in32(1),
        compare.in32(66));
  }

  @Test
  void roundingIsNearestByDefinition() {
    Random random = new Random(5);
    for (DType type : new DType[] {DType.BF16, DType.F16}) {
      Narrow format = Narrow.of(type);
      for (int i = 0; i < 20_000; i++) {
        float value = Float.intBitsToFloat(random.nextInt());
        if (i % 2 == 0) {
          value = (float) Math.scalb(random.nextGaussian(), random.nextInt(45) - 28);
        }
        if (Float.isNaN(value)) {
          continue;
        }
        float rounded = Narrow.round(type, value);
        short bits = format.nearest(value);
        assertThat(rounded).as("%s of %s", type, value).isEqualTo(format.widen(bits));
        assertThat(format.bits(rounded)).as("%s of %s", type, value).isEqualTo(bits);
      }
    }
  }
}

package org.mixedgpu.backend;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Random;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Runs one op on two backends with the same operands and compares all of them afterwards: outputs
 * by {@link Closeness}, integers exactly, inputs bit for bit with what they were.
 */
final class OpComparison {
  /** The op under test on tensors in the order of the operands. */
  interface Op {
    void run(TrainingBackend backend, Tensor[] t);
  }

  enum Role {
    IN,
    OUT,
    INOUT
  }

  /** An operand with its contents before the op; floats or ints, the other is null. */
  record Operand(Role role, Shape shape, float[] floats, int[] ints) {}

  private final TrainingBackend tested;
  private final TrainingBackend reference;
  private final Random random;
  private final String origin;

  OpComparison(TrainingBackend tested, TrainingBackend reference, long seed) {
    this.tested = tested;
    this.reference = reference;
    this.random = new Random(seed);
    this.origin = " (seed " + seed + "; repeat with -Dcontract.seed=" + seed + ")";
  }

  Random random() {
    return random;
  }

  Operand in(long... dims) {
    return new Operand(Role.IN, Shape.of(dims), normal(dims), null);
  }

  Operand in(float[] values, long... dims) {
    return new Operand(Role.IN, Shape.of(dims), values, null);
  }

  Operand in(int[] values, long... dims) {
    return new Operand(Role.IN, Shape.of(dims), null, values);
  }

  /** Poisoned: an op that reads it, or leaves a part of it, is found out. */
  Operand out(long... dims) {
    float[] poison = new float[(int) Shape.of(dims).elements()];
    Arrays.fill(poison, Float.NaN);
    return new Operand(Role.OUT, Shape.of(dims), poison, null);
  }

  Operand outInts(long... dims) {
    int[] poison = new int[(int) Shape.of(dims).elements()];
    Arrays.fill(poison, Integer.MIN_VALUE);
    return new Operand(Role.OUT, Shape.of(dims), null, poison);
  }

  Operand inOut(long... dims) {
    return new Operand(Role.INOUT, Shape.of(dims), normal(dims), null);
  }

  Operand inOut(float[] values, long... dims) {
    return new Operand(Role.INOUT, Shape.of(dims), values, null);
  }

  float[] normal(long... dims) {
    float[] values = new float[(int) Shape.of(dims).elements()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  /** Uniform in [0, bound). */
  int[] indexes(int count, int bound) {
    return random.ints(count, 0, bound).toArray();
  }

  int[] permutation(int count) {
    int[] order = new int[count];
    for (int i = 0; i < count; i++) {
      int other = random.nextInt(i + 1);
      order[i] = order[other];
      order[other] = i;
    }
    return order;
  }

  /**
   * @param length terms of the op's longest sum, for {@link Closeness}
   */
  void check(String what, long length, Op op, Operand... operands) {
    Object[] got = run(tested, op, operands);
    Object[] expected = run(reference, op, operands);
    for (int i = 0; i < operands.length; i++) {
      String name = what + ", operand " + i + " " + operands[i].shape() + origin;
      if (operands[i].ints() != null) {
        int[] ints = operands[i].role() == Role.IN ? operands[i].ints() : (int[]) expected[i];
        exact((int[]) got[i], ints, name);
      } else if (operands[i].role() == Role.IN) {
        exact(bits((float[]) got[i]), bits(operands[i].floats()), name + " is an input");
      } else {
        Closeness.check((float[]) got[i], (float[]) expected[i], length, name);
      }
    }
  }

  /** The operands' contents after the op. */
  static Object[] run(TrainingBackend backend, Op op, Operand... operands) {
    Tensor[] tensors = new Tensor[operands.length];
    try {
      for (int i = 0; i < operands.length; i++) {
        boolean isInts = operands[i].ints() != null;
        tensors[i] = backend.allocate(isInts ? DType.I32 : DType.F32, operands[i].shape());
        if (isInts) {
          write(backend, tensors[i], operands[i].ints());
        } else {
          write(backend, tensors[i], operands[i].floats());
        }
      }
      op.run(backend, tensors);
      Object[] results = new Object[operands.length];
      for (int i = 0; i < operands.length; i++) {
        results[i] =
            operands[i].ints() != null
                ? readInts(backend, tensors[i])
                : readFloats(backend, tensors[i]);
      }
      return results;
    } finally {
      for (Tensor tensor : tensors) {
        if (tensor != null) {
          tensor.close();
        }
      }
    }
  }

  static void write(Backend backend, Tensor to, float[] values) {
    ByteBuffer bytes = buffer(values.length);
    bytes.asFloatBuffer().put(values);
    backend.write(to, bytes);
  }

  static void write(Backend backend, Tensor to, int[] values) {
    ByteBuffer bytes = buffer(values.length);
    bytes.asIntBuffer().put(values);
    backend.write(to, bytes);
  }

  static float[] readFloats(Backend backend, Tensor from) {
    ByteBuffer bytes = buffer((int) from.shape().elements());
    backend.read(bytes, from);
    float[] values = new float[(int) from.shape().elements()];
    bytes.flip();
    bytes.asFloatBuffer().get(values);
    return values;
  }

  static int[] readInts(Backend backend, Tensor from) {
    ByteBuffer bytes = buffer((int) from.shape().elements());
    backend.read(bytes, from);
    int[] values = new int[(int) from.shape().elements()];
    bytes.flip();
    bytes.asIntBuffer().get(values);
    return values;
  }

  static int[] bits(float[] values) {
    int[] bits = new int[values.length];
    for (int i = 0; i < values.length; i++) {
      bits[i] = Float.floatToRawIntBits(values[i]);
    }
    return bits;
  }

  private static ByteBuffer buffer(int elements) {
    return ByteBuffer.allocate(4 * elements).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static void exact(int[] got, int[] expected, String name) {
    int at = Arrays.mismatch(got, expected);
    if (at >= 0) {
      throw new AssertionError(
          name + ": at " + at + " expected " + expected[at] + ", found " + got[at]);
    }
  }
}

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
 *
 * <p>An operand is <i>real</i>, of the backend's own compute type, unless it is made by a method
 * whose name ends in 32. The values of real operands are rounded to the tested backend's type, so
 * that a reference in F32 computes with the same numbers.
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

  /** Results that are too few for their own root mean square to tell how large such results are. */
  private static final int FEW = 16;

  private static final int DRAWS = 8;

  /**
   * An operand with its contents before the op; floats or ints, the other is null.
   *
   * @param real whether its type is the compute type; otherwise F32 or I32
   * @param drawn whether its floats are random ones, and others would do
   */
  record Operand(Role role, boolean real, Shape shape, float[] floats, int[] ints, boolean drawn) {
    Operand(Role role, boolean real, Shape shape, float[] floats, int[] ints) {
      this(role, real, shape, floats, ints, false);
    }

    private DType type(Backend backend) {
      return ints != null ? DType.I32 : real ? backend.computeType() : DType.F32;
    }
  }

  private final TrainingBackend tested;
  private final TrainingBackend reference;
  private final Random random;
  private final int margin;
  private final String origin;

  OpComparison(TrainingBackend tested, TrainingBackend reference, long seed) {
    this(tested, reference, seed, 0);
  }

  /**
   * @param margin elements around each operand of the tested backend: operands are then views, and
   *     what is around them must stay
   */
  OpComparison(TrainingBackend tested, TrainingBackend reference, long seed, int margin) {
    this.tested = tested;
    this.reference = reference;
    this.random = new Random(seed);
    this.margin = margin;
    this.origin = " (seed " + seed + "; repeat with -Dcontract.seed=" + seed + ")";
  }

  Random random() {
    return random;
  }

  Operand in(long... dims) {
    return drawn(Role.IN, true, dims);
  }

  Operand in(float[] values, long... dims) {
    return new Operand(Role.IN, true, Shape.of(dims), rounded(values), null);
  }

  Operand in32(long... dims) {
    return drawn(Role.IN, false, dims);
  }

  Operand in32(float[] values, long... dims) {
    return new Operand(Role.IN, false, Shape.of(dims), values, null);
  }

  Operand in(int[] values, long... dims) {
    return new Operand(Role.IN, false, Shape.of(dims), null, values);
  }

  /** Poisoned: an op that reads it, or leaves a part of it, is found out. */
  Operand out(long... dims) {
    return new Operand(Role.OUT, true, Shape.of(dims), poison(dims), null);
  }

  Operand out32(long... dims) {
    return new Operand(Role.OUT, false, Shape.of(dims), poison(dims), null);
  }

  Operand outInts(long... dims) {
    int[] poison = new int[(int) Shape.of(dims).elements()];
    Arrays.fill(poison, Integer.MIN_VALUE);
    return new Operand(Role.OUT, false, Shape.of(dims), null, poison);
  }

  Operand inOut(long... dims) {
    return drawn(Role.INOUT, true, dims);
  }

  Operand inOut(float[] values, long... dims) {
    return new Operand(Role.INOUT, true, Shape.of(dims), rounded(values), null);
  }

  Operand inOut32(long... dims) {
    return drawn(Role.INOUT, false, dims);
  }

  Operand inOut32(float[] values, long... dims) {
    return new Operand(Role.INOUT, false, Shape.of(dims), values, null);
  }

  private Operand drawn(Role role, boolean real, long... dims) {
    float[] values = real ? rounded(normal(dims)) : normal(dims);
    return new Operand(role, real, Shape.of(dims), values, null, true);
  }

  private static float[] poison(long... dims) {
    float[] poison = new float[(int) Shape.of(dims).elements()];
    Arrays.fill(poison, Float.NaN);
    return poison;
  }

  /** As the tested backend's compute type has them. */
  private float[] rounded(float[] values) {
    float[] rounded = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      rounded[i] = Narrow.round(tested.computeType(), values[i]);
    }
    return rounded;
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
   * @param length terms of the op's longest sum, for {@link Tolerance}
   */
  void check(String what, long length, Op op, Operand... operands) {
    check(what, length, 0, op, operands);
  }

  /**
   * For attention, and for products that are added to a rounded output.
   *
   * @param factors that the op may round to the compute type inside, for {@link Tolerance}
   */
  void checkRoundedInside(String what, long length, int factors, Op op, Operand... operands) {
    check(what, length, factors, op, operands);
  }

  private void check(String what, long length, int inside, Op op, Operand... operands) {
    Object[] got = run(tested, margin, op, operands);
    Object[] expected = run(reference, op, operands);
    double[] sizes = sizes(expected, op, operands);
    for (int i = 0; i < operands.length; i++) {
      String name = what + ", operand " + i + " " + operands[i].shape() + origin;
      if (operands[i].ints() != null) {
        int[] ints = operands[i].role() == Role.IN ? operands[i].ints() : (int[]) expected[i];
        exact((int[]) got[i], ints, name);
      } else if (operands[i].role() == Role.IN) {
        exact(bits((float[]) got[i]), bits(operands[i].floats()), name + " is an input");
      } else {
        Closeness.check(
            (float[]) got[i],
            (float[]) expected[i],
            tolerance(operands[i], length, inside),
            sizes[i],
            name);
      }
    }
  }

  /**
   * Root mean square of each operand's results. Of a few, all can be small by chance, where the
   * terms of each cancel: then of the results on more draws of the operands as well.
   */
  private double[] sizes(Object[] expected, Op op, Operand... operands) {
    double[] sizes = new double[operands.length];
    boolean few = false;
    for (int i = 0; i < operands.length; i++) {
      if (expected[i] instanceof float[] results) {
        sizes[i] = Closeness.rms(results);
        few |= operands[i].role() != Role.IN && results.length < FEW;
      }
    }
    for (int draw = 0; few && draw < DRAWS; draw++) {
      Operand[] others = operands.clone();
      for (int i = 0; i < others.length; i++) {
        if (operands[i].drawn()) {
          others[i] = drawn(operands[i].role(), operands[i].real(), operands[i].shape().toArray());
        }
      }
      Object[] results = run(reference, op, others);
      for (int i = 0; i < operands.length; i++) {
        if (results[i] instanceof float[] more && more.length < FEW) {
          sizes[i] = Math.max(sizes[i], Closeness.rms(more));
        }
      }
    }
    return sizes;
  }

  private Tolerance tolerance(Operand operand, long length, int inside) {
    int width = (int) operand.shape().dim(operand.shape().rank() - 1);
    return operand.real()
        ? new Tolerance(length, tested.computeType(), inside, width)
        : new Tolerance(length, DType.F32, 0, width);
  }

  /** The operands' contents after the op. */
  static Object[] run(TrainingBackend backend, Op op, Operand... operands) {
    return run(backend, 0, op, operands);
  }

  private static Object[] run(TrainingBackend backend, int margin, Op op, Operand... operands) {
    Tensor[] memory = new Tensor[operands.length];
    Tensor[] tensors = new Tensor[operands.length];
    try {
      for (int i = 0; i < operands.length; i++) {
        Shape shape = operands[i].shape();
        Shape all = Shape.of(shape.elements() + 2L * margin);
        memory[i] = backend.allocate(operands[i].type(backend), all);
        tensors[i] = memory[i].rows(margin, shape.elements()).view(shape);
        if (operands[i].ints() != null) {
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
        keptZeros(backend, memory[i], margin, i);
      }
      return results;
    } finally {
      for (Tensor tensor : memory) {
        if (tensor != null) {
          tensor.close();
        }
      }
    }
  }

  /** The elements around an operand are what memory is at first. */
  private static void keptZeros(Backend backend, Tensor memory, int margin, int operand) {
    long end = memory.shape().rows() - margin;
    for (Tensor around : new Tensor[] {memory.rows(0, margin), memory.rows(end, margin)}) {
      ByteBuffer bytes = buffer((int) around.bytes());
      backend.read(bytes, around);
      for (byte found : bytes.array()) {
        if (found != 0) {
          throw new AssertionError("The op wrote outside of its operand " + operand);
        }
      }
    }
  }

  /** Values of the tensor's own type, or F32 numbers that it has. */
  static void write(Backend backend, Tensor to, float[] values) {
    ByteBuffer bytes = buffer(values.length * to.type().bytes());
    if (to.type() == DType.F32) {
      bytes.asFloatBuffer().put(values);
    } else {
      Narrow format = Narrow.of(to.type());
      for (int i = 0; i < values.length; i++) {
        bytes.putShort(2 * i, format.bits(values[i]));
      }
    }
    backend.write(to, bytes);
  }

  static void write(Backend backend, Tensor to, int[] values) {
    ByteBuffer bytes = buffer(values.length * Integer.BYTES);
    bytes.asIntBuffer().put(values);
    backend.write(to, bytes);
  }

  /** As F32 numbers, whatever the tensor's type. */
  static float[] readFloats(Backend backend, Tensor from) {
    ByteBuffer bytes = buffer((int) from.bytes());
    backend.read(bytes, from);
    bytes.flip();
    float[] values = new float[(int) from.shape().elements()];
    if (from.type() == DType.F32) {
      bytes.asFloatBuffer().get(values);
    } else {
      Narrow format = Narrow.of(from.type());
      for (int i = 0; i < values.length; i++) {
        values[i] = format.widen(bytes.getShort(2 * i));
      }
    }
    return values;
  }

  static int[] readInts(Backend backend, Tensor from) {
    ByteBuffer bytes = buffer((int) from.bytes());
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

  private static ByteBuffer buffer(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static void exact(int[] got, int[] expected, String name) {
    int at = Arrays.mismatch(got, expected);
    if (at >= 0) {
      throw new AssertionError(
          name + ": at " + at + " expected " + expected[at] + ", found " + got[at]);
    }
  }
}

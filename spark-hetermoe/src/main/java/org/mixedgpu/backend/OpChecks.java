package org.mixedgpu.backend;

import java.util.Arrays;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The shape and type rules of {@link Backend}'s ops, for its implementations. A rule that is broken
 * is a {@code BAD_INPUT} that names the op, the operand, what was expected and what was found.
 */
public final class OpChecks {
  private OpChecks() {}

  /** The operand has the type and exactly these extents. */
  public static void operand(String op, String name, Tensor tensor, DType type, long... dims) {
    if (tensor == null) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          op + " needs " + name + " " + type + Arrays.toString(dims) + "; found null");
    }
    Shape shape = tensor.shape();
    boolean fits = tensor.type() == type && shape.rank() == dims.length;
    for (int i = 0; fits && i < dims.length; i++) {
      fits = shape.dim(i) == dims[i];
    }
    if (!fits) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          op
              + " needs "
              + name
              + " "
              + type
              + Arrays.toString(dims)
              + "; found "
              + tensor.type()
              + shape);
    }
  }

  public static void f32(String op, String name, Tensor tensor, long... dims) {
    operand(op, name, tensor, DType.F32, dims);
  }

  public static void i32(String op, String name, Tensor tensor, long... dims) {
    operand(op, name, tensor, DType.I32, dims);
  }

  /** An F32 tensor of any rank with as many elements as the other's shape, shaped alike. */
  public static void alike(String op, String name, Tensor tensor, Tensor other) {
    f32(op, name, tensor, other.shape().toArray());
  }

  /** The operand has this rank and type; its extents are free. */
  public static Shape rank(String op, String name, Tensor tensor, DType type, int rank) {
    Check.input(
        tensor != null && tensor.type() == type && tensor.shape().rank() == rank,
        "%s needs %s %s with %d dimensions; found %s",
        op,
        name,
        type,
        rank,
        tensor == null ? "null" : tensor.type() + tensor.shape().toString());
    return tensor.shape();
  }

  public static void floats(String op, String name, Tensor tensor) {
    Check.input(
        tensor != null && tensor.type() == DType.F32,
        "%s needs %s F32; found %s",
        op,
        name,
        tensor == null ? "null" : tensor.type() + tensor.shape().toString());
  }

  /** Values of an index tensor that would reach outside of memory. */
  public static void index(String op, String name, long value, long position, long limit) {
    if (value < 0 || value >= limit) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          String.format(
              "%s needs %s in [0, %d); found %d at position %d", op, name, limit, value, position));
    }
  }

  /** Group bounds that ascend inside [0, rows]. */
  public static void offsets(String op, int[] offsets, long rows) {
    for (int e = 0; e < offsets.length; e++) {
      int before = e == 0 ? 0 : offsets[e - 1];
      if (offsets[e] < before || offsets[e] > rows) {
        throw new MixedGpuException(
            Fault.BAD_INPUT,
            String.format(
                "%s needs offsets that ascend within [0, %d]; found %d after %d at position %d",
                op, rows, offsets[e], before, e));
      }
    }
  }

  /** Checks the four tensors and returns {batch, Tq, Tk}. */
  public static long[] attention(
      String op, Tensor out, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    long queryWidth = (long) shape.queryHeads() * shape.headDim();
    long keyWidth = (long) shape.kvHeads() * shape.headDim();
    long rows = rank(op, "q", q, DType.F32, 2).rows();
    long keyRows = rank(op, "k", k, DType.F32, 2).rows();
    f32(op, "q", q, rows, queryWidth);
    f32(op, "out", out, rows, queryWidth);
    f32(op, "k", k, keyRows, keyWidth);
    f32(op, "v", v, keyRows, keyWidth);
    Check.input(
        rows % shape.batch() == 0 && keyRows % shape.batch() == 0 && keyRows >= rows,
        "%s needs query and key rows that are multiples of the batch, and at least as many keys as"
            + " queries; found %d query rows, %d key rows, batch %d",
        op,
        rows,
        keyRows,
        shape.batch());
    return new long[] {shape.batch(), rows / shape.batch(), keyRows / shape.batch()};
  }
}

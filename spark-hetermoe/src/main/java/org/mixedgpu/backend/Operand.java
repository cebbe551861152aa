package org.mixedgpu.backend;

import java.util.Arrays;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * What the rules of {@link OpChecks} and {@link TrainingOpChecks} are made of. A rule that holds
 * allocates nothing.
 */
final class Operand {
  private Operand() {}

  /** The operand has the type and one dimension of exactly this extent. */
  static void typed(String op, String name, Tensor tensor, DType type, long dim) {
    if (tensor == null
        || tensor.type() != type
        || tensor.shape().rank() != 1
        || tensor.shape().dim(0) != dim) {
      throw broken(op, name, type + Arrays.toString(new long[] {dim}), tensor);
    }
  }

  /** The operand has the type and exactly these extents. */
  static void typed(String op, String name, Tensor tensor, DType type, long rows, long columns) {
    if (tensor == null
        || tensor.type() != type
        || tensor.shape().rank() != 2
        || tensor.shape().dim(0) != rows
        || tensor.shape().dim(1) != columns) {
      throw broken(op, name, type + Arrays.toString(new long[] {rows, columns}), tensor);
    }
  }

  /** The operand has the type and exactly this shape. */
  static void typed(String op, String name, Tensor tensor, DType type, Shape shape) {
    if (tensor == null || tensor.type() != type || !tensor.shape().equals(shape)) {
      throw broken(op, name, type + shape.toString(), tensor);
    }
  }

  static void f32(String op, String name, Tensor tensor, long dim) {
    typed(op, name, tensor, DType.F32, dim);
  }

  static void f32(String op, String name, Tensor tensor, long rows, long columns) {
    typed(op, name, tensor, DType.F32, rows, columns);
  }

  static void i32(String op, String name, Tensor tensor, long dim) {
    typed(op, name, tensor, DType.I32, dim);
  }

  static void i32(String op, String name, Tensor tensor, long rows, long columns) {
    typed(op, name, tensor, DType.I32, rows, columns);
  }

  /** In the type and shape of the other. */
  static void alike(String op, String name, Tensor tensor, Tensor other) {
    typed(op, name, tensor, other.type(), other.shape());
  }

  /** The operand has this type and number of dimensions; its extents are free. */
  static Shape rank(String op, String name, Tensor tensor, DType type, int rank) {
    if (tensor == null || tensor.type() != type || tensor.shape().rank() != rank) {
      throw broken(op, name, type + " with " + rank + " dimensions", tensor);
    }
    return tensor.shape();
  }

  /** Of this type, in any shape. */
  static void of(String op, String name, Tensor tensor, DType type) {
    if (tensor == null || tensor.type() != type) {
      throw broken(op, name, type.toString(), tensor);
    }
  }

  /** Of one of two types, in any shape; returns which. */
  static DType either(String op, String name, Tensor tensor, DType one, DType other) {
    if (tensor == null || (tensor.type() != one && tensor.type() != other)) {
      throw broken(op, name, one == other ? one.toString() : one + " or " + other, tensor);
    }
    return tensor.type();
  }

  private static MixedGpuException broken(String op, String name, String expected, Tensor found) {
    String foundText = found == null ? "null" : found.type() + found.shape().toString();
    return new MixedGpuException(
        Fault.BAD_INPUT, op + " needs " + name + " " + expected + "; found " + foundText);
  }
}

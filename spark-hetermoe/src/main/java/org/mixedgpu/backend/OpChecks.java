package org.mixedgpu.backend;

import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The shape and type rules of {@link Backend}'s ops, the same for all implementations of a compute
 * type. A broken rule is a {@code BAD_INPUT} that names the op, the operand, what was expected and
 * what was found.
 */
public sealed class OpChecks permits TrainingOpChecks {
  /** The compute type. */
  final DType real;

  /**
   * @param computeType of the backend whose operands are checked
   */
  public OpChecks(DType computeType) {
    Check.that(computeType != DType.I32, "A backend computes in F32, BF16 or F16");
    this.real = computeType;
  }

  public void fill(Tensor out) {
    realOrF32("fill", "out", out);
  }

  public void copy(Tensor out, Tensor in) {
    Check.input(out != null && in != null, "copy needs two tensors; found null");
    Operand.typed("copy", "in", in, in.type(), out.shape());
    if (out.type() != in.type() && (out.type() == DType.I32 || in.type() == DType.I32)) {
      throw Check.badInput(
          "copy converts between F32, F16 and BF16; found %s to %s", in.type(), out.type());
    }
  }

  public void add(Tensor out, Tensor a, Tensor b) {
    realOrF32("add", "out", out);
    Operand.alike("add", "a", a, out);
    Operand.alike("add", "b", b, out);
  }

  public void scale(Tensor x) {
    realOrF32("scale", "x", x);
  }

  public void addBias(Tensor x, Tensor bias) {
    Shape shape = Operand.rank("addBias", "x", x, real, 2);
    Operand.typed("addBias", "bias", bias, real, shape.dim(1));
  }

  public void swiglu(Tensor out, Tensor gate, Tensor up) {
    Operand.of("swiglu", "out", out, real);
    Operand.alike("swiglu", "gate", gate, out);
    Operand.alike("swiglu", "up", up, out);
  }

  public void addGated(Tensor out, Tensor x, Tensor gate) {
    Shape shape = Operand.rank("addGated", "out", out, real, 2);
    Operand.alike("addGated", "x", x, out);
    Operand.typed("addGated", "gate", gate, real, shape.rows());
  }

  public void gatherRows(Tensor out, Tensor in, Tensor index) {
    DType type = realOrF32("gatherRows", "out", out);
    Operand.of("gatherRows", "in", in, type);
    rowsAlike("gatherRows", "in", in, "out", out);
    Operand.i32("gatherRows", "index", index, out.shape().rows());
  }

  public void combineRows(Tensor out, Tensor slots, Tensor slotOf, Tensor weights) {
    choices("combineRows", out, slots, slotOf);
    if (weights != null) {
      Operand.typed("combineRows", "weights", weights, DType.F32, slotOf.shape());
    }
  }

  final void choices(String op, Tensor out, Tensor slots, Tensor slotOf) {
    Shape rows = Operand.rank(op, "out", out, real, 2);
    long perRow = Operand.rank(op, "slotOf", slotOf, DType.I32, 2).dim(1);
    Operand.i32(op, "slotOf", slotOf, rows.rows(), perRow);
    Operand.typed(op, "slots", slots, real, rows.rows() * perRow, rows.dim(1));
  }

  public void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose) {
    String op = matmul(transpose);
    Shape shape = Operand.rank(op, "out", out, realOrF32(op, "out", out), 2);
    DType type = realOrF32(op, "a", a);
    Shape left = Operand.rank(op, "a", a, type, 2);
    long m = shape.dim(0);
    long n = shape.dim(1);
    switch (transpose) {
      case NN:
        Operand.typed(op, "a", a, type, m, left.dim(1));
        Operand.typed(op, "b", b, type, left.dim(1), n);
        break;
      case NT:
        Operand.typed(op, "a", a, type, m, left.dim(1));
        Operand.typed(op, "b", b, type, n, left.dim(1));
        break;
      case TN:
        Operand.typed(op, "a", a, type, left.dim(0), m);
        Operand.typed(op, "b", b, type, left.dim(0), n);
        break;
    }
  }

  /** Named here, so that a check makes no string of it. */
  private static String matmul(Transpose transpose) {
    return switch (transpose) {
      case NN -> "matmul NN";
      case NT -> "matmul NT";
      case TN -> "matmul TN";
    };
  }

  public void groupedMatmul(Tensor out, Tensor in, Tensor w, Tensor offsets, Transpose transpose) {
    String op = transpose == Transpose.NT ? "groupedMatmul NT" : "groupedMatmul NN";
    Check.input(
        transpose != Transpose.TN,
        "groupedMatmul is NT (forward) or NN (data gradient); use groupedMatmulWeightGradient for"
            + " TN");
    Shape weights = Operand.rank(op, "w", w, real, 3);
    boolean forward = transpose == Transpose.NT;
    long rows = Operand.rank(op, "out", out, real, 2).rows();
    Operand.typed(op, "out", out, real, rows, weights.dim(forward ? 1 : 2));
    Operand.typed(op, "in", in, real, rows, weights.dim(forward ? 2 : 1));
    Operand.i32(op, "offsets", offsets, weights.dim(0) + 1);
  }

  public void rmsNorm(Tensor out, Tensor inverseRms, Tensor x, Tensor gain) {
    Shape shape = Operand.rank("rmsNorm", "x", x, real, 2);
    Operand.alike("rmsNorm", "out", out, x);
    Operand.f32("rmsNorm", "gain", gain, shape.dim(1));
    if (inverseRms != null) {
      Operand.f32("rmsNorm", "inverseRms", inverseRms, shape.rows());
    }
  }

  public void rope(Tensor x, int headDim, Tensor cos, Tensor sin, int firstPosition, int sequence) {
    Shape shape = Operand.rank("rope", "x", x, real, 2);
    if (headDim <= 0 || headDim % 2 != 0 || shape.dim(1) % headDim != 0) {
      throw Check.badInput(
          "rope needs an even head size that divides the row width; found %d, x %s",
          headDim, shape);
    }
    Shape table = Operand.rank("rope", "cos", cos, DType.F32, 2);
    Operand.f32("rope", "cos", cos, table.rows(), headDim / 2);
    Operand.f32("rope", "sin", sin, table.rows(), headDim / 2);
    if (sequence <= 0 || shape.rows() % sequence != 0 || firstPosition < 0) {
      throw Check.badInput(
          "rope needs rows in whole sequences and a position of 0 or more; found %d rows, sequences"
              + " of %d, first position %d",
          shape.rows(), sequence, firstPosition);
    }
    if (firstPosition + (long) sequence > table.rows()) {
      throw Check.badInput(
          "rope needs positions %d to %d; the tables have %d",
          firstPosition, firstPosition + (long) sequence - 1, table.rows());
    }
  }

  public void attention(
      Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    attention("attention", out, q, k, v, shape);
    if (logSumExp != null) {
      Operand.f32("attention", "logSumExp", logSumExp, q.shape().rows(), shape.queryHeads());
    }
  }

  final void attention(String op, Tensor out, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    long queryWidth = (long) shape.queryHeads() * shape.headDim();
    long keyWidth = (long) shape.kvHeads() * shape.headDim();
    long rows = Operand.rank(op, "q", q, real, 2).rows();
    long keyRows = Operand.rank(op, "k", k, real, 2).rows();
    Operand.typed(op, "q", q, real, rows, queryWidth);
    Operand.typed(op, "out", out, real, rows, queryWidth);
    Operand.typed(op, "k", k, real, keyRows, keyWidth);
    Operand.typed(op, "v", v, real, keyRows, keyWidth);
    if (rows % shape.batch() != 0 || keyRows % shape.batch() != 0 || keyRows < rows) {
      throw Check.badInput(
          "%s needs query and key rows that are multiples of the batch, and at least as many keys as"
              + " queries; found %d query rows, %d key rows, batch %d",
          op, rows, keyRows, shape.batch());
    }
  }

  public void routerTopK(Tensor probs, Tensor weights, Tensor experts, Tensor logits) {
    Shape shape = Operand.rank("routerTopK", "logits", logits, DType.F32, 2);
    Operand.alike("routerTopK", "probs", probs, logits);
    long k = Operand.rank("routerTopK", "experts", experts, DType.I32, 2).dim(1);
    Operand.i32("routerTopK", "experts", experts, shape.rows(), k);
    Operand.f32("routerTopK", "weights", weights, shape.rows(), k);
    if (k > shape.dim(1)) {
      throw Check.badInput("routerTopK cannot choose %d of %d experts", k, shape.dim(1));
    }
  }

  public void sortByExpert(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts) {
    Shape choices = Operand.rank("sortByExpert", "experts", experts, DType.I32, 2);
    Operand.typed("sortByExpert", "slotOf", slotOf, DType.I32, choices);
    Operand.i32("sortByExpert", "rowOf", rowOf, choices.elements());
    Shape bounds = Operand.rank("sortByExpert", "offsets", offsets, DType.I32, 1);
    Check.input(
        bounds.rows() >= 1, "sortByExpert needs offsets with one element more than experts");
  }

  public void crossEntropy(Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets) {
    Shape shape = Operand.rank("crossEntropy", "logits", logits, real, 2);
    Operand.f32("crossEntropy", "rowLoss", rowLoss, shape.rows());
    Operand.i32("crossEntropy", "targets", targets, shape.rows());
    if (dLogits != null) {
      Operand.alike("crossEntropy", "dLogits", dLogits, logits);
    }
  }

  /** A value of an index tensor lies in [0, limit). */
  public static void index(String op, String name, long value, long position, long limit) {
    if (value < 0 || value >= limit) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          String.format(
              "%s needs %s in [0, %d); found %d at position %d", op, name, limit, value, position));
    }
  }

  /** Bounds of groups ascend within [0, rows]. */
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

  /** For ops that also take F32 operands; returns which it is. */
  private DType realOrF32(String op, String name, Tensor tensor) {
    return Operand.either(op, name, tensor, real, DType.F32);
  }

  static void rowsAlike(String op, String name, Tensor a, String other, Tensor b) {
    if (!a.shape().hasRowsOf(b.shape())) {
      throw Check.badInput(
          "%s needs rows of equal shape; found %s %s, %s %s",
          op, name, a.shape(), other, b.shape());
    }
  }
}

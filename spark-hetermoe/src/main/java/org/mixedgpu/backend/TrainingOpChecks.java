package org.mixedgpu.backend;

import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** The shape and type rules of {@link TrainingBackend}'s ops; see {@link OpChecks}. */
public final class TrainingOpChecks extends OpChecks {
  /**
   * @param computeType of the backend whose operands are checked
   */
  public TrainingOpChecks(DType computeType) {
    super(computeType);
  }

  public void addBiasBackward(Tensor dBias, Tensor dOut) {
    Shape shape = Operand.rank("addBiasBackward", "dOut", dOut, real, 2);
    Operand.f32("addBiasBackward", "dBias", dBias, shape.dim(1));
  }

  public void swigluBackward(
      Tensor dGate, Tensor dUp, Tensor product, Tensor dOut, Tensor gate, Tensor up) {
    String op = "swigluBackward";
    Operand.of(op, "dOut", dOut, real);
    Operand.alike(op, "dGate", dGate, dOut);
    Operand.alike(op, "dUp", dUp, dOut);
    Operand.alike(op, "product", product, dOut);
    Operand.alike(op, "gate", gate, dOut);
    Operand.alike(op, "up", up, dOut);
  }

  public void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate) {
    String op = "addGatedBackward";
    Shape shape = Operand.rank(op, "dOut", dOut, real, 2);
    Operand.alike(op, "dX", dX, dOut);
    Operand.alike(op, "x", x, dOut);
    Operand.typed(op, "gate", gate, real, shape.rows());
    Operand.typed(op, "dGate", dGate, real, shape.rows());
  }

  public void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index) {
    Operand.of("scatterAddRows", "dTable", dTable, DType.F32);
    Operand.of("scatterAddRows", "dOut", dOut, real);
    rowsAlike("scatterAddRows", "dTable", dTable, "dOut", dOut);
    Operand.i32("scatterAddRows", "index", index, dOut.shape().rows());
  }

  public void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights) {
    String op = "combineRowsBackward";
    choices(op, dOut, slots, slotOf);
    Operand.alike(op, "dSlots", dSlots, slots);
    Operand.typed(op, "dWeights", dWeights, DType.F32, slotOf.shape());
    Operand.typed(op, "weights", weights, DType.F32, slotOf.shape());
  }

  public void groupedMatmulWeightGradient(Tensor dW, Tensor dOut, Tensor in, Tensor offsets) {
    String op = "groupedMatmulWeightGradient";
    Shape weights = Operand.rank(op, "dW", dW, DType.F32, 3);
    long rows = Operand.rank(op, "dOut", dOut, real, 2).rows();
    Operand.typed(op, "dOut", dOut, real, rows, weights.dim(1));
    Operand.typed(op, "in", in, real, rows, weights.dim(2));
    Operand.i32(op, "offsets", offsets, weights.dim(0) + 1);
  }

  public void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms) {
    String op = "rmsNormBackward";
    Shape shape = Operand.rank(op, "x", x, real, 2);
    Operand.alike(op, "dX", dX, x);
    Operand.alike(op, "dOut", dOut, x);
    Operand.f32(op, "gain", gain, shape.dim(1));
    Operand.f32(op, "inverseRms", inverseRms, shape.rows());
    if (dGain != null) {
      Operand.f32(op, "dGain", dGain, shape.dim(1));
    }
  }

  public void attentionBackward(
      Tensor dQ,
      Tensor dK,
      Tensor dV,
      Tensor dOut,
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor out,
      Tensor logSumExp,
      AttentionShape shape) {
    String op = "attentionBackward";
    attention(op, out, q, k, v, shape);
    Operand.alike(op, "dOut", dOut, out);
    Operand.alike(op, "dQ", dQ, q);
    Operand.alike(op, "dK", dK, k);
    Operand.alike(op, "dV", dV, v);
    Operand.f32(op, "logSumExp", logSumExp, q.shape().rows(), shape.queryHeads());
  }

  public void routerBackward(
      Tensor dLogits,
      Tensor dWeights,
      Tensor probs,
      Tensor weights,
      Tensor experts,
      Tensor logits,
      Tensor auxByExpert,
      float zScale) {
    String op = "routerBackward";
    Shape shape = Operand.rank(op, "probs", probs, DType.F32, 2);
    Operand.alike(op, "dLogits", dLogits, probs);
    long k = Operand.rank(op, "experts", experts, DType.I32, 2).dim(1);
    Operand.i32(op, "experts", experts, shape.rows(), k);
    Operand.f32(op, "weights", weights, shape.rows(), k);
    Operand.f32(op, "dWeights", dWeights, shape.rows(), k);
    if (zScale != 0) {
      Operand.alike(op, "logits", logits, probs);
    }
    if (auxByExpert != null) {
      Operand.f32(op, "auxByExpert", auxByExpert, shape.dim(1));
    }
  }

  public void sumSquares(Tensor out, Tensor x) {
    Operand.f32("sumSquares", "out", out, 1);
    Operand.of("sumSquares", "x", x, DType.F32);
  }

  public void sumRows(Tensor out, Tensor x) {
    Shape shape = Operand.rank("sumRows", "x", x, DType.F32, 2);
    Operand.f32("sumRows", "out", out, shape.dim(1));
  }

  public void adamW(
      Tensor param, Tensor firstMoment, Tensor secondMoment, Tensor gradient, Tensor working) {
    Operand.of("adamW", "param", param, DType.F32);
    Operand.alike("adamW", "firstMoment", firstMoment, param);
    Operand.alike("adamW", "secondMoment", secondMoment, param);
    Operand.alike("adamW", "gradient", gradient, param);
    if (working == null) {
      return;
    }
    if (real == DType.F32) {
      throw Check.badInput(
          "adamW needs no working copy where the compute type is F32; found one of shape %s",
          working.shape());
    }
    Operand.typed("adamW", "working", working, real, param.shape());
  }
}

package org.mixedgpu.backend;

import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** The shape and type rules of {@link TrainingBackend}'s ops; see {@link OpChecks}. */
public final class TrainingOpChecks {
  private TrainingOpChecks() {}

  public static void addBiasBackward(Tensor dBias, Tensor dOut) {
    Shape shape = Operand.rank("addBiasBackward", "dOut", dOut, DType.F32, 2);
    Operand.f32("addBiasBackward", "dBias", dBias, shape.dim(1));
  }

  public static void swigluBackward(Tensor dGate, Tensor dUp, Tensor dOut, Tensor gate, Tensor up) {
    String op = "swigluBackward";
    Operand.floats(op, "dOut", dOut);
    Operand.alike(op, "dGate", dGate, dOut);
    Operand.alike(op, "dUp", dUp, dOut);
    Operand.alike(op, "gate", gate, dOut);
    Operand.alike(op, "up", up, dOut);
  }

  public static void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate) {
    String op = "addGatedBackward";
    Shape shape = Operand.rank(op, "dOut", dOut, DType.F32, 2);
    Operand.alike(op, "dX", dX, dOut);
    Operand.alike(op, "x", x, dOut);
    Operand.f32(op, "gate", gate, shape.rows());
    Operand.f32(op, "dGate", dGate, shape.rows());
  }

  public static void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index) {
    Operand.floats("scatterAddRows", "dTable", dTable);
    Operand.floats("scatterAddRows", "dOut", dOut);
    OpChecks.rowsAlike("scatterAddRows", "dTable", dTable, "dOut", dOut);
    Operand.i32("scatterAddRows", "index", index, dOut.shape().rows());
  }

  public static void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights) {
    String op = "combineRowsBackward";
    OpChecks.choices(op, dOut, slots, slotOf);
    Operand.alike(op, "dSlots", dSlots, slots);
    Operand.f32(op, "dWeights", dWeights, slotOf.shape().toArray());
    Operand.f32(op, "weights", weights, slotOf.shape().toArray());
  }

  public static void groupedMatmulWeightGradient(
      Tensor dW, Tensor dOut, Tensor in, Tensor offsets) {
    String op = "groupedMatmulWeightGradient";
    Shape weights = Operand.rank(op, "dW", dW, DType.F32, 3);
    long rows = Operand.rank(op, "dOut", dOut, DType.F32, 2).rows();
    Operand.f32(op, "dOut", dOut, rows, weights.dim(1));
    Operand.f32(op, "in", in, rows, weights.dim(2));
    Operand.i32(op, "offsets", offsets, weights.dim(0) + 1);
  }

  public static void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms) {
    String op = "rmsNormBackward";
    Shape shape = Operand.rank(op, "x", x, DType.F32, 2);
    Operand.alike(op, "dX", dX, x);
    Operand.alike(op, "dOut", dOut, x);
    Operand.f32(op, "gain", gain, shape.dim(1));
    Operand.f32(op, "inverseRms", inverseRms, shape.rows());
    if (dGain != null) {
      Operand.f32(op, "dGain", dGain, shape.dim(1));
    }
  }

  public static void attentionBackward(
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
    OpChecks.attention(op, out, q, k, v, shape);
    Operand.alike(op, "dOut", dOut, out);
    Operand.alike(op, "dQ", dQ, q);
    Operand.alike(op, "dK", dK, k);
    Operand.alike(op, "dV", dV, v);
    Operand.f32(op, "logSumExp", logSumExp, q.shape().rows(), shape.queryHeads());
  }

  public static void routerBackward(
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

  public static void sumSquares(Tensor out, Tensor x) {
    Operand.f32("sumSquares", "out", out, 1);
    Operand.floats("sumSquares", "x", x);
  }

  public static void sumRows(Tensor out, Tensor x) {
    Shape shape = Operand.rank("sumRows", "x", x, DType.F32, 2);
    Operand.f32("sumRows", "out", out, shape.dim(1));
  }

  public static void adamW(Tensor param, Tensor firstMoment, Tensor secondMoment, Tensor gradient) {
    Operand.floats("adamW", "param", param);
    Operand.alike("adamW", "firstMoment", firstMoment, param);
    Operand.alike("adamW", "secondMoment", secondMoment, param);
    Operand.alike("adamW", "gradient", gradient, param);
  }
}

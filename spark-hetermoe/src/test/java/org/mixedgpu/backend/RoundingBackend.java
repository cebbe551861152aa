package org.mixedgpu.backend;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostMemory;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * A backend of any compute type without a device that has it: each op is the CPU backend's, on F32
 * copies of its 16-bit operands, and its outputs are rounded once. For tests of everything above
 * the backends; a test that wants a wrong device makes a subclass.
 */
public class RoundingBackend implements TrainingBackend {
  private final DType type;
  private final HostMemory memory;
  private final TrainingBackend wide;
  private final TrainingOpChecks checks;

  public RoundingBackend(DType computeType) {
    this(computeType, Long.MAX_VALUE);
  }

  public RoundingBackend(DType computeType, long memoryLimitBytes) {
    this.type = computeType;
    this.memory = new HostMemory("rounding", memoryLimitBytes);
    this.wide = Backends.cpu(new CpuOptions(2, Long.MAX_VALUE));
    this.checks = new TrainingOpChecks(computeType);
  }

  /** F32 copies of an op's 16-bit operands; other operands are used themselves. */
  private final class Widened implements AutoCloseable {
    private final List<Tensor> copies = new ArrayList<>();
    private final List<Tensor> outputs = new ArrayList<>();
    private final List<Tensor> copiesOfOutputs = new ArrayList<>();

    Tensor in(Tensor operand) {
      if (operand == null || operand.type() == DType.F32 || operand.type() == DType.I32) {
        return operand;
      }
      Tensor copy = wide.allocate(DType.F32, operand.shape());
      copies.add(copy);
      wide.copy(copy, operand);
      return copy;
    }

    /** With its contents: some ops add to them or leave a part. */
    Tensor out(Tensor operand) {
      Tensor copy = in(operand);
      if (copy != operand) {
        outputs.add(operand);
        copiesOfOutputs.add(copy);
      }
      return copy;
    }

    void store() {
      for (int i = 0; i < outputs.size(); i++) {
        wide.copy(outputs.get(i), copiesOfOutputs.get(i));
      }
    }

    @Override
    public void close() {
      copies.forEach(Tensor::close);
    }
  }

  @Override
  public String name() {
    return "rounding to " + type + " on " + wide.name();
  }

  @Override
  public BackendKind kind() {
    return BackendKind.REFERENCE;
  }

  @Override
  public DType computeType() {
    return type;
  }

  @Override
  public Tensor allocate(DType tensorType, Shape shape) {
    return memory.allocate(tensorType, shape);
  }

  @Override
  public MemoryUse memoryUse() {
    return new MemoryUse(memory.bytes(), memory.peakBytes(), memory.limitBytes(), memory.tensors());
  }

  @Override
  public void write(Tensor to, ByteBuffer from) {
    ((HostTensor) to).write(from);
  }

  @Override
  public void read(ByteBuffer to, Tensor from) {
    ((HostTensor) from).read(to);
  }

  @Override
  public Lane lane(String name) {
    return new HostLane(name);
  }

  @Override
  public void synchronize() {}

  @Override
  public Stamp stamp() {
    return HostStamp.now();
  }

  @Override
  public void fill(Tensor out, float value) {
    checks.fill(out);
    try (Widened f = new Widened()) {
      wide.fill(f.out(out), value);
      f.store();
    }
  }

  @Override
  public void copy(Tensor out, Tensor in) {
    checks.copy(out, in);
    wide.copy(out, in);
  }

  @Override
  public void add(Tensor out, Tensor a, Tensor b) {
    checks.add(out, a, b);
    try (Widened f = new Widened()) {
      wide.add(f.out(out), f.in(a), f.in(b));
      f.store();
    }
  }

  @Override
  public void scale(Tensor x, float factor) {
    checks.scale(x);
    try (Widened f = new Widened()) {
      wide.scale(f.out(x), factor);
      f.store();
    }
  }

  @Override
  public void addBias(Tensor x, Tensor bias) {
    checks.addBias(x, bias);
    try (Widened f = new Widened()) {
      wide.addBias(f.out(x), f.in(bias));
      f.store();
    }
  }

  @Override
  public void swiglu(Tensor out, Tensor gate, Tensor up) {
    checks.swiglu(out, gate, up);
    try (Widened f = new Widened()) {
      wide.swiglu(f.out(out), f.in(gate), f.in(up));
      f.store();
    }
  }

  @Override
  public void addGated(Tensor out, Tensor x, Tensor gate) {
    checks.addGated(out, x, gate);
    try (Widened f = new Widened()) {
      wide.addGated(f.out(out), f.in(x), f.in(gate));
      f.store();
    }
  }

  @Override
  public void gatherRows(Tensor out, Tensor in, Tensor index) {
    checks.gatherRows(out, in, index);
    try (Widened f = new Widened()) {
      wide.gatherRows(f.out(out), f.in(in), f.in(index));
      f.store();
    }
  }

  @Override
  public void combineRows(
      Tensor out, Tensor slots, Tensor slotOf, Tensor weights, boolean accumulate) {
    checks.combineRows(out, slots, slotOf, weights);
    try (Widened f = new Widened()) {
      wide.combineRows(f.out(out), f.in(slots), f.in(slotOf), f.in(weights), accumulate);
      f.store();
    }
  }

  @Override
  public void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose, float beta) {
    checks.matmul(out, a, b, transpose);
    try (Widened f = new Widened()) {
      wide.matmul(f.out(out), f.in(a), f.in(b), transpose, beta);
      f.store();
    }
  }

  @Override
  public void groupedMatmul(Tensor out, Tensor in, Tensor w, Tensor offsets, Transpose transpose) {
    checks.groupedMatmul(out, in, w, offsets, transpose);
    try (Widened f = new Widened()) {
      wide.groupedMatmul(f.out(out), f.in(in), f.in(w), f.in(offsets), transpose);
      f.store();
    }
  }

  @Override
  public void rmsNorm(Tensor out, Tensor inverseRms, Tensor x, Tensor gain, float epsilon) {
    checks.rmsNorm(out, inverseRms, x, gain);
    try (Widened f = new Widened()) {
      wide.rmsNorm(f.out(out), f.out(inverseRms), f.in(x), f.in(gain), epsilon);
      f.store();
    }
  }

  @Override
  public void rope(
      Tensor x,
      int headDim,
      Tensor cos,
      Tensor sin,
      int firstPosition,
      int sequence,
      boolean inverse) {
    checks.rope(x, headDim, cos, sin, firstPosition, sequence);
    try (Widened f = new Widened()) {
      wide.rope(f.out(x), headDim, f.in(cos), f.in(sin), firstPosition, sequence, inverse);
      f.store();
    }
  }

  @Override
  public void attention(
      Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    checks.attention(out, logSumExp, q, k, v, shape);
    try (Widened f = new Widened()) {
      wide.attention(f.out(out), f.out(logSumExp), f.in(q), f.in(k), f.in(v), shape);
      f.store();
    }
  }

  @Override
  public void routerTopK(
      Tensor probs, Tensor weights, Tensor experts, Tensor logits, boolean renormalise) {
    checks.routerTopK(probs, weights, experts, logits);
    try (Widened f = new Widened()) {
      wide.routerTopK(f.out(probs), f.out(weights), f.out(experts), f.in(logits), renormalise);
      f.store();
    }
  }

  @Override
  public void sortByExpert(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts) {
    checks.sortByExpert(slotOf, rowOf, offsets, experts);
    try (Widened f = new Widened()) {
      wide.sortByExpert(f.out(slotOf), f.out(rowOf), f.out(offsets), f.in(experts));
      f.store();
    }
  }

  @Override
  public void crossEntropy(
      Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets, float gradScale) {
    checks.crossEntropy(rowLoss, dLogits, logits, targets);
    try (Widened f = new Widened()) {
      wide.crossEntropy(f.out(rowLoss), f.out(dLogits), f.in(logits), f.in(targets), gradScale);
      f.store();
    }
  }

  @Override
  public void addBiasBackward(Tensor dBias, Tensor dOut) {
    checks.addBiasBackward(dBias, dOut);
    try (Widened f = new Widened()) {
      wide.addBiasBackward(f.out(dBias), f.in(dOut));
      f.store();
    }
  }

  @Override
  public void swigluBackward(
      Tensor dGate, Tensor dUp, Tensor product, Tensor dOut, Tensor gate, Tensor up) {
    checks.swigluBackward(dGate, dUp, product, dOut, gate, up);
    try (Widened f = new Widened()) {
      wide.swigluBackward(
          f.out(dGate), f.out(dUp), f.out(product), f.in(dOut), f.in(gate), f.in(up));
      f.store();
    }
  }

  @Override
  public void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate) {
    checks.addGatedBackward(dX, dGate, dOut, x, gate);
    try (Widened f = new Widened()) {
      wide.addGatedBackward(f.out(dX), f.out(dGate), f.in(dOut), f.in(x), f.in(gate));
      f.store();
    }
  }

  @Override
  public void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index) {
    checks.scatterAddRows(dTable, dOut, index);
    try (Widened f = new Widened()) {
      wide.scatterAddRows(f.out(dTable), f.in(dOut), f.in(index));
      f.store();
    }
  }

  @Override
  public void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights) {
    checks.combineRowsBackward(dSlots, dWeights, dOut, slots, slotOf, weights);
    try (Widened f = new Widened()) {
      wide.combineRowsBackward(
          f.out(dSlots), f.out(dWeights), f.in(dOut), f.in(slots), f.in(slotOf), f.in(weights));
      f.store();
    }
  }

  @Override
  public void groupedMatmulWeightGradient(
      Tensor dW, Tensor dOut, Tensor in, Tensor offsets, boolean accumulate) {
    checks.groupedMatmulWeightGradient(dW, dOut, in, offsets);
    try (Widened f = new Widened()) {
      wide.groupedMatmulWeightGradient(f.out(dW), f.in(dOut), f.in(in), f.in(offsets), accumulate);
      f.store();
    }
  }

  @Override
  public void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms) {
    checks.rmsNormBackward(dX, dGain, dOut, x, gain, inverseRms);
    try (Widened f = new Widened()) {
      wide.rmsNormBackward(
          f.out(dX), f.out(dGain), f.in(dOut), f.in(x), f.in(gain), f.in(inverseRms));
      f.store();
    }
  }

  @Override
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
    checks.attentionBackward(dQ, dK, dV, dOut, q, k, v, out, logSumExp, shape);
    try (Widened f = new Widened()) {
      wide.attentionBackward(
          f.out(dQ),
          f.out(dK),
          f.out(dV),
          f.in(dOut),
          f.in(q),
          f.in(k),
          f.in(v),
          f.in(out),
          f.in(logSumExp),
          shape);
      f.store();
    }
  }

  @Override
  public void routerBackward(
      Tensor dLogits,
      Tensor dWeights,
      Tensor probs,
      Tensor weights,
      Tensor experts,
      Tensor logits,
      boolean renormalise,
      Tensor auxByExpert,
      float zScale) {
    checks.routerBackward(dLogits, dWeights, probs, weights, experts, logits, auxByExpert, zScale);
    try (Widened f = new Widened()) {
      wide.routerBackward(
          f.out(dLogits),
          f.in(dWeights),
          f.in(probs),
          f.in(weights),
          f.in(experts),
          f.in(logits),
          renormalise,
          f.in(auxByExpert),
          zScale);
      f.store();
    }
  }

  @Override
  public void sumSquares(Tensor out, Tensor x) {
    checks.sumSquares(out, x);
    try (Widened f = new Widened()) {
      wide.sumSquares(f.out(out), f.in(x));
      f.store();
    }
  }

  @Override
  public void sumRows(Tensor out, Tensor x) {
    checks.sumRows(out, x);
    try (Widened f = new Widened()) {
      wide.sumRows(f.out(out), f.in(x));
      f.store();
    }
  }

  @Override
  public void adamW(
      Tensor param,
      Tensor firstMoment,
      Tensor secondMoment,
      Tensor gradient,
      Tensor working,
      AdamWStep step) {
    checks.adamW(param, firstMoment, secondMoment, gradient, working);
    wide.adamW(param, firstMoment, secondMoment, gradient, null, step);
    if (working != null) {
      wide.copy(working, param);
    }
  }

  @Override
  public void close() {
    wide.close();
    memory.close();
  }
}

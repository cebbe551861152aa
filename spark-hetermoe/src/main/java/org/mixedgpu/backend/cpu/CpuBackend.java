package org.mixedgpu.backend.cpu;

import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicInteger;
import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.HostLane;
import org.mixedgpu.backend.HostStamp;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.MemoryUse;
import org.mixedgpu.backend.Stamp;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.TrainingOpChecks;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostMemory;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The host processor, F32. An op is done when it returns; it runs on the calling thread and the
 * backend's compute threads, which all lanes share. Ops may be called from several threads at the
 * same time.
 *
 * <p>Matrix products go to a native BLAS; everything else is Java on arrays that stay in the cache.
 */
public final class CpuBackend implements TrainingBackend {
  /** Of the operands of every op. */
  static final TrainingOpChecks CHECKS = new TrainingOpChecks(DType.F32);

  private static final AtomicInteger COUNT = new AtomicInteger();

  private final String name;
  private final HostMemory memory;
  private final Workers workers;
  private final CpuElementwise elementwise;
  private final CpuRows rows;
  private final CpuNorm norm;
  private final CpuMatrix matrix;
  private final CpuAttention attention;
  private final CpuAttentionBackward attentionBackward;
  private final CpuRouter router;
  private final CpuLoss loss;
  private final CpuOptimizer optimizer;

  /** Use {@link org.mixedgpu.backend.Backends#cpu}. */
  public CpuBackend(CpuOptions options) {
    if (ModuleLayer.boot().findModule("jdk.incubator.vector").isEmpty()) {
      throw new MixedGpuException(
          Fault.MISSING,
          "The CPU backend needs the JVM option --add-modules=jdk.incubator.vector, which Spark"
              + " gives its own processes; add it to this JVM");
    }
    int number = COUNT.incrementAndGet();
    this.name =
        String.format(
            "cpu (%s, %d thread%s)",
            OpenBlas.version(), options.threads(), options.threads() == 1 ? "" : "s");
    this.memory = new HostMemory("cpu-" + number, options.memoryLimitBytes());
    this.workers = new Workers(options.threads(), "cpu-" + number);
    this.elementwise = new CpuElementwise(workers);
    this.rows = new CpuRows(workers);
    this.norm = new CpuNorm(workers, rows);
    this.matrix = new CpuMatrix(workers);
    this.attention = new CpuAttention(workers);
    this.attentionBackward = new CpuAttentionBackward(workers);
    this.router = new CpuRouter(workers);
    this.loss = new CpuLoss(workers);
    this.optimizer = new CpuOptimizer(workers);
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public BackendKind kind() {
    return BackendKind.CPU;
  }

  @Override
  public DType computeType() {
    return DType.F32;
  }

  @Override
  public Tensor allocate(DType type, Shape shape) {
    return memory.allocate(type, shape);
  }

  @Override
  public MemoryUse memoryUse() {
    return new MemoryUse(memory.bytes(), memory.peakBytes(), memory.limitBytes(), memory.tensors());
  }

  @Override
  public void write(Tensor to, ByteBuffer from) {
    host(to).write(from);
  }

  @Override
  public void read(ByteBuffer to, Tensor from) {
    host(from).read(to);
  }

  @Override
  public Lane lane(String laneName) {
    return new HostLane(laneName);
  }

  /** Nothing to wait for: an op of the default lane is done when it returns. */
  @Override
  public void synchronize() {}

  @Override
  public Stamp stamp() {
    return HostStamp.now();
  }

  @Override
  public void fill(Tensor out, float value) {
    elementwise.fill(host(out), value);
  }

  @Override
  public void copy(Tensor out, Tensor in) {
    elementwise.copy(host(out), host(in));
  }

  @Override
  public void add(Tensor out, Tensor a, Tensor b) {
    elementwise.add(host(out), host(a), host(b));
  }

  @Override
  public void scale(Tensor x, float factor) {
    elementwise.scale(host(x), factor);
  }

  @Override
  public void addBias(Tensor x, Tensor bias) {
    rows.addBias(host(x), host(bias));
  }

  @Override
  public void swiglu(Tensor out, Tensor gate, Tensor up) {
    elementwise.swiglu(host(out), host(gate), host(up));
  }

  @Override
  public void addGated(Tensor out, Tensor x, Tensor gate) {
    rows.addGated(host(out), host(x), host(gate));
  }

  @Override
  public void gatherRows(Tensor out, Tensor in, Tensor index) {
    rows.gather(host(out), host(in), host(index));
  }

  @Override
  public void combineRows(
      Tensor out, Tensor slots, Tensor slotOf, Tensor weights, boolean accumulate) {
    rows.combine(host(out), host(slots), host(slotOf), host(weights), accumulate);
  }

  @Override
  public void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose, float beta) {
    matrix.matmul(host(out), host(a), host(b), transpose, beta);
  }

  @Override
  public void groupedMatmul(Tensor out, Tensor in, Tensor w, Tensor offsets, Transpose transpose) {
    matrix.grouped(host(out), host(in), host(w), host(offsets), transpose);
  }

  @Override
  public void rmsNorm(Tensor out, Tensor inverseRms, Tensor x, Tensor gain, float epsilon) {
    norm.rmsNorm(host(out), host(inverseRms), host(x), host(gain), epsilon);
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
    norm.rope(host(x), headDim, host(cos), host(sin), firstPosition, sequence, inverse);
  }

  @Override
  public void attention(
      Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    attention.forward(host(out), host(logSumExp), host(q), host(k), host(v), shape);
  }

  @Override
  public void routerTopK(
      Tensor probs, Tensor weights, Tensor experts, Tensor logits, boolean renormalise) {
    router.topK(host(probs), host(weights), host(experts), host(logits), renormalise);
  }

  @Override
  public void sortByExpert(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts) {
    router.sortByExpert(host(slotOf), host(rowOf), host(offsets), host(experts));
  }

  @Override
  public void crossEntropy(
      Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets, float gradScale) {
    loss.crossEntropy(host(rowLoss), host(dLogits), host(logits), host(targets), gradScale);
  }

  @Override
  public void addBiasBackward(Tensor dBias, Tensor dOut) {
    CHECKS.addBiasBackward(dBias, dOut);
    rows.sum(host(dBias), host(dOut), true);
  }

  @Override
  public void swigluBackward(
      Tensor dGate, Tensor dUp, Tensor product, Tensor dOut, Tensor gate, Tensor up) {
    elementwise.swigluBackward(
        host(dGate), host(dUp), host(product), host(dOut), host(gate), host(up));
  }

  @Override
  public void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate) {
    rows.addGatedBackward(host(dX), host(dGate), host(dOut), host(x), host(gate));
  }

  @Override
  public void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index) {
    rows.scatterAdd(host(dTable), host(dOut), host(index));
  }

  @Override
  public void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights) {
    rows.combineBackward(
        host(dSlots), host(dWeights), host(dOut), host(slots), host(slotOf), host(weights));
  }

  @Override
  public void groupedMatmulWeightGradient(
      Tensor dW, Tensor dOut, Tensor in, Tensor offsets, boolean accumulate) {
    matrix.groupedWeightGradient(host(dW), host(dOut), host(in), host(offsets), accumulate);
  }

  @Override
  public void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms) {
    norm.rmsNormBackward(host(dX), host(dGain), host(dOut), host(x), host(gain), host(inverseRms));
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
    attentionBackward.backward(
        host(dQ),
        host(dK),
        host(dV),
        host(dOut),
        host(q),
        host(k),
        host(v),
        host(out),
        host(logSumExp),
        shape);
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
    router.backward(
        host(dLogits),
        host(dWeights),
        host(probs),
        host(weights),
        host(experts),
        host(logits),
        renormalise,
        host(auxByExpert),
        zScale);
  }

  @Override
  public void sumSquares(Tensor out, Tensor x) {
    optimizer.sumSquares(host(out), host(x));
  }

  @Override
  public void sumRows(Tensor out, Tensor x) {
    CHECKS.sumRows(out, x);
    rows.sum(host(out), host(x), false);
  }

  @Override
  public void adamW(
      Tensor param,
      Tensor firstMoment,
      Tensor secondMoment,
      Tensor gradient,
      Tensor working,
      AdamWStep step) {
    CHECKS.adamW(param, firstMoment, secondMoment, gradient, working);
    optimizer.adamW(host(param), host(firstMoment), host(secondMoment), host(gradient), step);
  }

  @Override
  public void close() {
    workers.close();
    memory.close();
  }

  private static HostTensor host(Tensor tensor) {
    if (tensor != null && !(tensor instanceof HostTensor)) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          "The CPU backend was given a tensor of another device: "
              + tensor.getClass().getName()
              + "; read it and write it to a tensor of this backend");
    }
    return (HostTensor) tensor;
  }
}

package org.mixedgpu.backend.emulated;

import java.nio.ByteBuffer;
import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.backend.HostStamp;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.MemoryUse;
import org.mixedgpu.backend.Stamp;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * A backend that takes as long as an older generation would: an op that took t takes factor · t,
 * with the same results. It makes a mixed cluster out of equal machines, for trials and for the
 * quick start. Its name says that it is emulated, so that every report does.
 *
 * <p>The rest of the time passes without using a processor. A wait that ends late is taken off the
 * thread's next ones, so that the mean is right even where single ops are shorter than the
 * scheduler's grain.
 *
 * <p>An op of a GPU is only queued when it returns. There each op is waited for, on its lane, and
 * so is each event of another lane, so that an op's time is its own: from the launch on an idle
 * lane to the end on the device, with some 20 µs of the launch itself. A lane of an emulated GPU
 * therefore never runs ahead of its device; other lanes and other processes go on meanwhile.
 */
public final class EmulatedBackend implements TrainingBackend {
  /** Shorter waits are saved up: a sleeping thread wakes about 60 µs late. */
  private static final long SHORTEST_WAIT_NANOS = 100_000;

  private static final long LONGEST_CREDIT_NANOS = 50_000_000;

  private final TrainingBackend inner;
  private final String generation;
  private final Slowdown slowdown;
  private final Stopwatch stopwatch;

  /** Whether an op that has returned may still be running. */
  private final boolean queued;

  /** Nanoseconds that the thread still has to wait, or has waited too long where negative. */
  private final ThreadLocal<long[]> owed = ThreadLocal.withInitial(() -> new long[1]);

  /**
   * @param inner closed with this
   * @param generation which one is emulated, for {@link #name}
   */
  public EmulatedBackend(TrainingBackend inner, String generation, Slowdown slowdown) {
    this(inner, generation, slowdown, Stopwatch.SYSTEM);
  }

  EmulatedBackend(
      TrainingBackend inner, String generation, Slowdown slowdown, Stopwatch stopwatch) {
    this.inner = inner;
    this.generation = generation;
    this.slowdown = slowdown;
    this.stopwatch = stopwatch;
    this.queued = inner.kind() == BackendKind.CUDA;
  }

  private void take(double factor, Runnable op) {
    long start = stopwatch.nanos();
    op.run();
    if (queued) {
      // Also where it takes no longer: the next op's time must not include it.
      inner.synchronize();
    }
    if (factor == 1) {
      return;
    }
    long end = stopwatch.nanos();
    long[] balance = owed.get();
    balance[0] += Math.round((end - start) * (factor - 1));
    if (balance[0] >= SHORTEST_WAIT_NANOS) {
      stopwatch.pass(balance[0]);
      balance[0] -= stopwatch.nanos() - end;
      // A thread that was kept from running for long must not run at full speed for long after.
      balance[0] = Math.max(balance[0], -LONGEST_CREDIT_NANOS);
    }
  }

  @Override
  public String name() {
    return "emulated " + generation + " on " + inner.name();
  }

  /** The backend that computes. */
  public TrainingBackend inner() {
    return inner;
  }

  public Slowdown slowdown() {
    return slowdown;
  }

  @Override
  public BackendKind kind() {
    return inner.kind();
  }

  @Override
  public DType computeType() {
    return inner.computeType();
  }

  @Override
  public Tensor allocate(DType type, Shape shape) {
    return inner.allocate(type, shape);
  }

  @Override
  public MemoryUse memoryUse() {
    return inner.memoryUse();
  }

  @Override
  public void write(Tensor to, ByteBuffer from) {
    inner.write(to, from);
  }

  @Override
  public void read(ByteBuffer to, Tensor from) {
    inner.read(to, from);
  }

  @Override
  public Lane lane(String name) {
    return settled(inner.lane(name));
  }

  @Override
  public Lane urgentLane(String name) {
    return settled(inner.urgentLane(name));
  }

  private Lane settled(Lane lane) {
    return queued ? new SettledLane(lane) : lane;
  }

  @Override
  public void synchronize() {
    inner.synchronize();
  }

  /** The host's time, in which the rest of an op's time passes; waits for what is queued. */
  @Override
  public Stamp stamp() {
    if (queued) {
      inner.synchronize();
    }
    return new HostStamp(stopwatch.nanos());
  }

  @Override
  public void close() {
    inner.close();
  }

  @Override
  public void fill(Tensor out, float value) {
    take(slowdown.other(), () -> inner.fill(out, value));
  }

  @Override
  public void copy(Tensor out, Tensor in) {
    take(slowdown.other(), () -> inner.copy(out, in));
  }

  @Override
  public void add(Tensor out, Tensor a, Tensor b) {
    take(slowdown.other(), () -> inner.add(out, a, b));
  }

  @Override
  public void scale(Tensor x, float factor) {
    take(slowdown.other(), () -> inner.scale(x, factor));
  }

  @Override
  public void addBias(Tensor x, Tensor bias) {
    take(slowdown.other(), () -> inner.addBias(x, bias));
  }

  @Override
  public void swiglu(Tensor out, Tensor gate, Tensor up) {
    take(slowdown.other(), () -> inner.swiglu(out, gate, up));
  }

  @Override
  public void addGated(Tensor out, Tensor x, Tensor gate) {
    take(slowdown.other(), () -> inner.addGated(out, x, gate));
  }

  @Override
  public void gatherRows(Tensor out, Tensor in, Tensor index) {
    take(slowdown.other(), () -> inner.gatherRows(out, in, index));
  }

  @Override
  public void combineRows(
      Tensor out, Tensor slots, Tensor slotOf, Tensor weights, boolean accumulate) {
    take(slowdown.other(), () -> inner.combineRows(out, slots, slotOf, weights, accumulate));
  }

  @Override
  public void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose, float beta) {
    take(slowdown.experts(), () -> inner.matmul(out, a, b, transpose, beta));
  }

  @Override
  public void groupedMatmul(Tensor out, Tensor in, Tensor w, Tensor offsets, Transpose transpose) {
    take(slowdown.experts(), () -> inner.groupedMatmul(out, in, w, offsets, transpose));
  }

  @Override
  public void rmsNorm(Tensor out, Tensor inverseRms, Tensor x, Tensor gain, float epsilon) {
    take(slowdown.other(), () -> inner.rmsNorm(out, inverseRms, x, gain, epsilon));
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
    take(
        slowdown.other(), () -> inner.rope(x, headDim, cos, sin, firstPosition, sequence, inverse));
  }

  @Override
  public void attention(
      Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    take(slowdown.attention(), () -> inner.attention(out, logSumExp, q, k, v, shape));
  }

  @Override
  public void routerTopK(
      Tensor probs, Tensor weights, Tensor experts, Tensor logits, boolean renormalise) {
    take(slowdown.other(), () -> inner.routerTopK(probs, weights, experts, logits, renormalise));
  }

  @Override
  public void sortByExpert(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts) {
    take(slowdown.other(), () -> inner.sortByExpert(slotOf, rowOf, offsets, experts));
  }

  @Override
  public void crossEntropy(
      Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets, float gradScale) {
    take(slowdown.other(), () -> inner.crossEntropy(rowLoss, dLogits, logits, targets, gradScale));
  }

  @Override
  public void addBiasBackward(Tensor dBias, Tensor dOut) {
    take(slowdown.other(), () -> inner.addBiasBackward(dBias, dOut));
  }

  @Override
  public void swigluBackward(
      Tensor dGate, Tensor dUp, Tensor product, Tensor dOut, Tensor gate, Tensor up) {
    take(slowdown.other(), () -> inner.swigluBackward(dGate, dUp, product, dOut, gate, up));
  }

  @Override
  public void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate) {
    take(slowdown.other(), () -> inner.addGatedBackward(dX, dGate, dOut, x, gate));
  }

  @Override
  public void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index) {
    take(slowdown.other(), () -> inner.scatterAddRows(dTable, dOut, index));
  }

  @Override
  public void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights) {
    take(
        slowdown.other(),
        () -> inner.combineRowsBackward(dSlots, dWeights, dOut, slots, slotOf, weights));
  }

  @Override
  public void groupedMatmulWeightGradient(
      Tensor dW, Tensor dOut, Tensor in, Tensor offsets, boolean accumulate) {
    take(
        slowdown.experts(),
        () -> inner.groupedMatmulWeightGradient(dW, dOut, in, offsets, accumulate));
  }

  @Override
  public void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms) {
    take(slowdown.other(), () -> inner.rmsNormBackward(dX, dGain, dOut, x, gain, inverseRms));
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
    take(
        slowdown.attention(),
        () -> inner.attentionBackward(dQ, dK, dV, dOut, q, k, v, out, logSumExp, shape));
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
    take(
        slowdown.other(),
        () ->
            inner.routerBackward(
                dLogits,
                dWeights,
                probs,
                weights,
                experts,
                logits,
                renormalise,
                auxByExpert,
                zScale));
  }

  @Override
  public void sumSquares(Tensor out, Tensor x) {
    take(slowdown.other(), () -> inner.sumSquares(out, x));
  }

  @Override
  public void sumRows(Tensor out, Tensor x) {
    take(slowdown.other(), () -> inner.sumRows(out, x));
  }

  @Override
  public void adamW(
      Tensor param,
      Tensor firstMoment,
      Tensor secondMoment,
      Tensor gradient,
      Tensor working,
      AdamWStep step) {
    take(
        slowdown.other(),
        () -> inner.adamW(param, firstMoment, secondMoment, gradient, working, step));
  }
}

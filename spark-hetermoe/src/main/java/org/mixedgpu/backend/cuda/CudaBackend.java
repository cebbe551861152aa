package org.mixedgpu.backend.cuda;

import java.nio.ByteBuffer;
import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.backend.BackendKind;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.Lane;
import org.mixedgpu.backend.MemoryUse;
import org.mixedgpu.backend.Stamp;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.TrainingOpChecks;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.MemoryAccount;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * An NVIDIA GPU. Ops are queued on the calling thread's stream and return before they are done; ops
 * may be called from several threads at the same time. Dense products go to cuBLASLt; everything
 * else is a kernel of this library, compiled for the GPU at first use.
 *
 * <p>Tensors may be allocated, used and closed by any threads: see {@link CudaBlock}. Contents that
 * one lane writes and another reads are ordered by events, as on any backend.
 */
public final class CudaBackend implements TrainingBackend {
  private final CudaDevice device;
  private final TrainingOpChecks checks;
  private final CudaElementwise elementwise;
  private final CudaRows rows;
  private final CudaNorm norm;
  private final CudaRouter router;
  private final CudaLoss loss;
  private final CudaOptimizer optimizer;
  private final CudaAttention attention;
  private final CudaGroupedMatmul grouped;
  private final CudaMatrix matrix;
  private boolean closed;

  /** Use {@link org.mixedgpu.backend.Backends#cuda}. */
  public CudaBackend(CudaOptions options) {
    this(new CudaDevice(options));
  }

  /**
   * @param device closed with this
   */
  CudaBackend(CudaDevice device) {
    this.device = device;
    this.checks = new TrainingOpChecks(device.computeType());
    this.elementwise = new CudaElementwise(device);
    this.rows = new CudaRows(device);
    this.norm = new CudaNorm(device);
    this.router = new CudaRouter(device);
    this.loss = new CudaLoss(device);
    this.optimizer = new CudaOptimizer(device);
    this.attention = new CudaAttention(device);
    this.grouped = new CudaGroupedMatmul(device);
    try {
      this.matrix = new CudaMatrix(device, elementwise);
    } catch (RuntimeException e) {
      throw CudaDevice.closing(e, device::close);
    }
  }

  /** Kernels queued since it was opened; products of cuBLASLt count as one each. */
  public long launches() {
    return device.launches().sum();
  }

  @Override
  public String name() {
    return "cuda (" + device.summary() + ")";
  }

  @Override
  public BackendKind kind() {
    return BackendKind.CUDA;
  }

  @Override
  public DType computeType() {
    return device.computeType();
  }

  @Override
  public Tensor allocate(DType type, Shape shape) {
    CudaStream stream = begin();
    synchronized (stream) {
      stream.opBegins();
      return device.memory().allocate(type, shape, stream);
    }
  }

  @Override
  public MemoryUse memoryUse() {
    MemoryAccount account = device.memory().account();
    return new MemoryUse(
        account.bytes(), account.peakBytes(), account.limitBytes(), account.tensors());
  }

  @Override
  public void write(Tensor to, ByteBuffer from) {
    checkSize(to, from);
    CudaStream stream = begin();
    synchronized (stream) {
      stream.staging().write(on(stream, to).pointer(), from);
    }
  }

  @Override
  public void read(ByteBuffer to, Tensor from) {
    checkSize(from, to);
    CudaStream stream = begin();
    synchronized (stream) {
      stream.staging().read(to, on(stream, from).pointer());
      stream.synchronize();
    }
  }

  private static void checkSize(Tensor tensor, ByteBuffer buffer) {
    if (buffer.remaining() != tensor.bytes()) {
      throw Check.badInput(
          "A tensor %s has %d bytes; the buffer has %d remaining",
          tensor, tensor.bytes(), buffer.remaining());
    }
  }

  @Override
  public Lane lane(String name) {
    return new CudaLane(device, name, false /* not urgent */);
  }

  @Override
  public Lane urgentLane(String name) {
    return new CudaLane(device, name, true /* urgent */);
  }

  @Override
  public void synchronize() {
    device.current().synchronize();
  }

  @Override
  public Stamp stamp() {
    return begin().stamp();
  }

  @Override
  public void fill(Tensor out, float value) {
    checks.fill(out);
    CudaStream stream = begin();
    synchronized (stream) {
      elementwise.fill(on(stream, out), value);
    }
  }

  @Override
  public void copy(Tensor out, Tensor in) {
    checks.copy(out, in);
    CudaStream stream = begin();
    synchronized (stream) {
      elementwise.copy(on(stream, out), on(stream, in));
    }
  }

  @Override
  public void add(Tensor out, Tensor a, Tensor b) {
    checks.add(out, a, b);
    CudaStream stream = begin();
    synchronized (stream) {
      elementwise.add(on(stream, out), on(stream, a), on(stream, b));
    }
  }

  @Override
  public void scale(Tensor x, float factor) {
    checks.scale(x);
    CudaStream stream = begin();
    synchronized (stream) {
      elementwise.scale(on(stream, x), factor);
    }
  }

  @Override
  public void addBias(Tensor x, Tensor bias) {
    checks.addBias(x, bias);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.addBias(on(stream, x), on(stream, bias));
    }
  }

  @Override
  public void swiglu(Tensor out, Tensor gate, Tensor up) {
    checks.swiglu(out, gate, up);
    CudaStream stream = begin();
    synchronized (stream) {
      elementwise.swiglu(on(stream, out), on(stream, gate), on(stream, up));
    }
  }

  @Override
  public void addGated(Tensor out, Tensor x, Tensor gate) {
    checks.addGated(out, x, gate);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.addGated(on(stream, out), on(stream, x), on(stream, gate));
    }
  }

  @Override
  public void gatherRows(Tensor out, Tensor in, Tensor index) {
    checks.gatherRows(out, in, index);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.gatherRows(on(stream, out), on(stream, in), on(stream, index));
    }
  }

  @Override
  public void combineRows(
      Tensor out, Tensor slots, Tensor slotOf, Tensor weights, boolean accumulate) {
    checks.combineRows(out, slots, slotOf, weights);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.combineRows(
          on(stream, out), on(stream, slots), on(stream, slotOf), on(stream, weights), accumulate);
    }
  }

  @Override
  public void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose, float beta) {
    checks.matmul(out, a, b, transpose);
    CudaStream stream = begin();
    synchronized (stream) {
      matrix.matmul(on(stream, out), on(stream, a), on(stream, b), transpose, beta);
    }
  }

  @Override
  public void groupedMatmul(Tensor out, Tensor in, Tensor w, Tensor offsets, Transpose transpose) {
    checks.groupedMatmul(out, in, w, offsets, transpose);
    CudaStream stream = begin();
    synchronized (stream) {
      grouped.groupedMatmul(
          on(stream, out), on(stream, in), on(stream, w), on(stream, offsets), transpose);
    }
  }

  @Override
  public void rmsNorm(Tensor out, Tensor inverseRms, Tensor x, Tensor gain, float epsilon) {
    checks.rmsNorm(out, inverseRms, x, gain);
    CudaStream stream = begin();
    synchronized (stream) {
      norm.rmsNorm(
          on(stream, out), on(stream, inverseRms), on(stream, x), on(stream, gain), epsilon);
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
    CudaStream stream = begin();
    synchronized (stream) {
      norm.rope(
          on(stream, x),
          headDim,
          on(stream, cos),
          on(stream, sin),
          firstPosition,
          sequence,
          inverse);
    }
  }

  @Override
  public void attention(
      Tensor out, Tensor logSumExp, Tensor q, Tensor k, Tensor v, AttentionShape shape) {
    checks.attention(out, logSumExp, q, k, v, shape);
    CudaStream stream = begin();
    synchronized (stream) {
      attention.attention(
          on(stream, out),
          on(stream, logSumExp),
          on(stream, q),
          on(stream, k),
          on(stream, v),
          shape);
    }
  }

  @Override
  public void routerTopK(
      Tensor probs, Tensor weights, Tensor experts, Tensor logits, boolean renormalise) {
    checks.routerTopK(probs, weights, experts, logits);
    CudaStream stream = begin();
    synchronized (stream) {
      router.routerTopK(
          on(stream, probs),
          on(stream, weights),
          on(stream, experts),
          on(stream, logits),
          renormalise);
    }
  }

  @Override
  public void sortByExpert(Tensor slotOf, Tensor rowOf, Tensor offsets, Tensor experts) {
    checks.sortByExpert(slotOf, rowOf, offsets, experts);
    CudaStream stream = begin();
    synchronized (stream) {
      router.sortByExpert(
          on(stream, slotOf), on(stream, rowOf), on(stream, offsets), on(stream, experts));
    }
  }

  @Override
  public void crossEntropy(
      Tensor rowLoss, Tensor dLogits, Tensor logits, Tensor targets, float gradScale) {
    checks.crossEntropy(rowLoss, dLogits, logits, targets);
    CudaStream stream = begin();
    synchronized (stream) {
      loss.crossEntropy(
          on(stream, rowLoss),
          on(stream, dLogits),
          on(stream, logits),
          on(stream, targets),
          gradScale);
    }
  }

  @Override
  public void addBiasBackward(Tensor dBias, Tensor dOut) {
    checks.addBiasBackward(dBias, dOut);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.addBiasBackward(on(stream, dBias), on(stream, dOut));
    }
  }

  @Override
  public void swigluBackward(
      Tensor dGate, Tensor dUp, Tensor product, Tensor dOut, Tensor gate, Tensor up) {
    checks.swigluBackward(dGate, dUp, product, dOut, gate, up);
    CudaStream stream = begin();
    synchronized (stream) {
      elementwise.swigluBackward(
          on(stream, dGate),
          on(stream, dUp),
          on(stream, product),
          on(stream, dOut),
          on(stream, gate),
          on(stream, up));
    }
  }

  @Override
  public void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate) {
    checks.addGatedBackward(dX, dGate, dOut, x, gate);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.addGatedBackward(
          on(stream, dX), on(stream, dGate), on(stream, dOut), on(stream, x), on(stream, gate));
    }
  }

  @Override
  public void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index) {
    checks.scatterAddRows(dTable, dOut, index);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.scatterAddRows(on(stream, dTable), on(stream, dOut), on(stream, index));
    }
  }

  @Override
  public void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights) {
    checks.combineRowsBackward(dSlots, dWeights, dOut, slots, slotOf, weights);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.combineRowsBackward(
          on(stream, dSlots),
          on(stream, dWeights),
          on(stream, dOut),
          on(stream, slots),
          on(stream, slotOf),
          on(stream, weights));
    }
  }

  @Override
  public void groupedMatmulWeightGradient(
      Tensor dW, Tensor dOut, Tensor in, Tensor offsets, boolean accumulate) {
    checks.groupedMatmulWeightGradient(dW, dOut, in, offsets);
    CudaStream stream = begin();
    synchronized (stream) {
      grouped.groupedMatmulWeightGradient(
          on(stream, dW), on(stream, dOut), on(stream, in), on(stream, offsets), accumulate);
    }
  }

  @Override
  public void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms) {
    checks.rmsNormBackward(dX, dGain, dOut, x, gain, inverseRms);
    CudaStream stream = begin();
    synchronized (stream) {
      norm.rmsNormBackward(
          on(stream, dX),
          on(stream, dGain),
          on(stream, dOut),
          on(stream, x),
          on(stream, gain),
          on(stream, inverseRms));
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
    CudaStream stream = begin();
    synchronized (stream) {
      attention.attentionBackward(
          on(stream, dQ),
          on(stream, dK),
          on(stream, dV),
          on(stream, dOut),
          on(stream, q),
          on(stream, k),
          on(stream, v),
          on(stream, out),
          on(stream, logSumExp),
          shape);
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
    CudaStream stream = begin();
    synchronized (stream) {
      router.routerBackward(
          on(stream, dLogits),
          on(stream, dWeights),
          on(stream, probs),
          on(stream, weights),
          on(stream, experts),
          on(stream, logits),
          renormalise,
          on(stream, auxByExpert),
          zScale);
    }
  }

  @Override
  public void sumSquares(Tensor out, Tensor x) {
    checks.sumSquares(out, x);
    CudaStream stream = begin();
    synchronized (stream) {
      optimizer.sumSquares(on(stream, out), on(stream, x));
    }
  }

  @Override
  public void sumRows(Tensor out, Tensor x) {
    checks.sumRows(out, x);
    CudaStream stream = begin();
    synchronized (stream) {
      rows.sumRows(on(stream, out), on(stream, x));
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
    CudaStream stream = begin();
    synchronized (stream) {
      optimizer.adamW(
          on(stream, param),
          on(stream, firstMoment),
          on(stream, secondMoment),
          on(stream, gradient),
          on(stream, working),
          step);
    }
  }

  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    device.makeCurrent();
    device.synchronizeAll();
    matrix.close();
    device.close();
  }

  CudaDevice device() {
    return device;
  }

  /** Work of a library, queued on a stream. */
  interface ForeignWork {
    /**
     * @param address of the tensor
     * @param stream the CUstream to queue on
     */
    void queue(long address, long stream);
  }

  /** This GPU as NCCL sees it. */
  NcclDevice nccl() {
    return new NcclDevice() {
      @Override
      public void makeCurrent() {
        device.makeCurrent();
      }

      @Override
      public void leave(int multiprocessors) {
        device.leave(multiprocessors);
      }

      @Override
      public Event queue(Tensor tensor, ForeignWork work) {
        CudaStream stream = begin();
        synchronized (stream) {
          long address = on(stream, tensor).pointer();
          CudaEvent before = stream.record();
          work.queue(address, stream.address());
          return before;
        }
      }

      @Override
      public String toString() {
        return device.toString();
      }
    };
  }

  /** The calling thread's stream, for one op; the caller holds its monitor meanwhile. */
  private CudaStream begin() {
    device.makeCurrent();
    return device.current();
  }

  /** An operand of an op on the stream, whose monitor the caller holds. */
  private CudaTensor on(CudaStream stream, Tensor tensor) {
    if (tensor == null) {
      return null;
    }
    if (!(tensor instanceof CudaTensor operand) || operand.block().device() != device) {
      throw new MixedGpuException(
          Fault.BAD_INPUT,
          String.format(
              "%s was given a tensor of another device: %s of %s; read it and write it to a tensor"
                  + " of this backend",
              device, tensor, tensor.getClass().getName()));
    }
    stream.opBegins();
    operand.block().usedBy(stream);
    return operand;
  }
}

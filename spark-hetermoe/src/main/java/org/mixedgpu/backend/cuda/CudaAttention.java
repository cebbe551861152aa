package org.mixedgpu.backend.cuda;

import java.util.List;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Causal attention on a GPU. The kernels made for the device's generation run where they fit the
 * type, head size and alignment, and plain ones everywhere else. Each pass has a fixed order of
 * sums.
 */
final class CudaAttention {
  /** Queries of a block of attentionStatistics, and its threads. */
  private static final int STATISTICS_QUERIES = 64;

  private static final int STATISTICS_THREADS = 256;

  private final CudaDevice device;

  /** Best first; the last takes every call. */
  private final List<AttentionKernels> variants;

  CudaAttention(CudaDevice device) {
    this(
        device,
        List.of(
            new HopperAttention(device),
            new TensorCoreAttention(device),
            new PlainAttention(device)));
  }

  CudaAttention(CudaDevice device, List<AttentionKernels> variants) {
    this.device = device;
    this.variants = variants;
  }

  /**
   * Operands as in {@link org.mixedgpu.backend.Backend#attention}, checked already.
   *
   * @param logSumExp or null
   */
  void attention(
      CudaTensor out,
      CudaTensor logSumExp,
      CudaTensor q,
      CudaTensor k,
      CudaTensor v,
      AttentionShape shape) {
    AttentionCall call = call(shape, q, k, v);
    if (call.queries() > 0) {
      variant(call, out).forward(call, out, logSumExp);
    }
  }

  /** Operands as in {@link org.mixedgpu.backend.TrainingBackend#attentionBackward}. */
  void attentionBackward(
      CudaTensor dQ,
      CudaTensor dK,
      CudaTensor dV,
      CudaTensor dOut,
      CudaTensor q,
      CudaTensor k,
      CudaTensor v,
      CudaTensor out,
      CudaTensor logSumExp,
      AttentionShape shape) {
    AttentionCall call = call(shape, q, k, v);
    CudaTensor statistics = device.scratch().bytes("attention.statistics", call.statisticsBytes());
    int groups = AttentionCall.tiles(call.padded(), STATISTICS_QUERIES);
    CudaTensor progress =
        device
            .scratch()
            .bytes("attention.progress", (1 + call.queryHeads() * groups) * Integer.BYTES);
    device
        .kernels()
        .get("attention", "attentionStatistics", call.type(), "HEAD=" + shape.headDim())
        .launch(
            call.queryHeads(),
            groups,
            1,
            STATISTICS_THREADS,
            0,
            device
                .arguments()
                .add(statistics)
                .add(progress)
                .add(dOut)
                .add(out)
                .add(logSumExp)
                .add(call.queries())
                .add(shape.queryHeads())
                .add(call.padded()));
    variant(call, dQ, dK, dV, dOut)
        .backward(call, new AttentionGradients(dQ, dK, dV, dOut, statistics, progress));
  }

  private static AttentionCall call(
      AttentionShape shape, CudaTensor q, CudaTensor k, CudaTensor v) {
    if (shape.headDim() > PlainAttention.MOST_HEAD_DIM) {
      throw Check.badInput(
          "Attention on a GPU takes heads of up to %d elements; found %d; use the backend cpu",
          PlainAttention.MOST_HEAD_DIM, shape.headDim());
    }
    return new AttentionCall(shape, q, k, v);
  }

  private AttentionKernels variant(AttentionCall call, CudaTensor... others) {
    for (AttentionKernels kernels : variants) {
      if (kernels.takes(call, others)) {
        return kernels;
      }
    }
    throw new MixedGpuException(Fault.BUG, "No attention kernel takes " + call);
  }
}

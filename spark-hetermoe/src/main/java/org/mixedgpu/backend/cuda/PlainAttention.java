package org.mixedgpu.backend.cuda;

import org.mixedgpu.backend.AttentionShape;

/** Attention without tensor cores, kernel file attention: any type, any head size up to 256. */
final class PlainAttention implements AttentionKernels {
  static final int MOST_HEAD_DIM = 256;

  private static final String FILE = "attention";

  // As in the kernel file.
  private static final int WARPS = 4;
  private static final int OTHER = 32;

  private final CudaDevice device;

  PlainAttention(CudaDevice device) {
    this.device = device;
  }

  @Override
  public boolean takes(AttentionCall call, CudaTensor... others) {
    return call.shape().headDim() <= MOST_HEAD_DIM;
  }

  @Override
  public void forward(AttentionCall call, CudaTensor out, CudaTensor logSumExp) {
    AttentionShape shape = call.shape();
    kernel(call, "attentionForward")
        .launch(
            call.queryHeads(),
            AttentionCall.tiles(call.queries(), tile(shape)),
            1,
            WARPS * 32,
            sharedBytes(shape, 1),
            device
                .arguments()
                .add(out)
                .add(logSumExp)
                .add(call.q())
                .add(call.k())
                .add(call.v())
                .add(call.queries())
                .add(call.keys())
                .add(shape.queryHeads())
                .add(shape.kvHeads())
                .add(call.window())
                .add(shape.scale()));
  }

  @Override
  public void backward(AttentionCall call, AttentionGradients gradients) {
    backwardQueries(call, gradients);
    backwardKeys(call, gradients);
  }

  private void backwardQueries(AttentionCall call, AttentionGradients gradients) {
    AttentionShape shape = call.shape();
    kernel(call, "attentionBackwardQueries")
        .launch(
            call.queryHeads(),
            AttentionCall.tiles(call.queries(), tile(shape)),
            1,
            WARPS * 32,
            sharedBytes(shape, 2),
            device
                .arguments()
                .add(gradients.dQ())
                .add(gradients.dOut())
                .add(call.q())
                .add(call.k())
                .add(call.v())
                .add(gradients.statistics())
                .add(call.queries())
                .add(call.keys())
                .add(shape.queryHeads())
                .add(shape.kvHeads())
                .add(call.window())
                .add(shape.scale())
                .add(call.padded()));
  }

  private void backwardKeys(AttentionCall call, AttentionGradients gradients) {
    AttentionShape shape = call.shape();
    kernel(call, "attentionBackwardKeys")
        .launch(
            call.kvHeads(),
            AttentionCall.tiles(call.keys(), tile(shape)),
            1,
            WARPS * 32,
            sharedBytes(shape, 2),
            device
                .arguments()
                .add(gradients.dK())
                .add(gradients.dV())
                .add(gradients.dOut())
                .add(call.q())
                .add(call.k())
                .add(call.v())
                .add(gradients.statistics())
                .add(call.queries())
                .add(call.keys())
                .add(shape.queryHeads())
                .add(shape.kvHeads())
                .add(call.window())
                .add(shape.scale())
                .add(call.padded()));
  }

  private Kernel kernel(AttentionCall call, String function) {
    return device.kernels().get(FILE, function, call.type(), "HEAD=" + call.shape().headDim());
  }

  /** Rows that a block owns: TILE of the kernel file. */
  private static int tile(AttentionShape shape) {
    return WARPS * (shape.headDim() <= 128 ? 8 : shape.headDim() <= 192 ? 4 : 2);
  }

  /** Tiles of F32: so many own ones, one of the other side, and the weights between them. */
  private static int sharedBytes(AttentionShape shape, int ownTiles) {
    int stride = (shape.headDim() + 3) / 4 * 4 + 4;
    int tile = tile(shape);
    return ((ownTiles * tile + OTHER) * stride + tile * OTHER) * Float.BYTES;
  }
}

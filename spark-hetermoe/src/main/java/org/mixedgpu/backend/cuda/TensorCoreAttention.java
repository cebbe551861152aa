package org.mixedgpu.backend.cuda;

import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.tensor.DType;

/**
 * Attention for fp16 and bf16 by mma.sync, kernel file attention.sm70: head sizes that are
 * multiples of 16 up to 128, of 32 up to 256.
 */
final class TensorCoreAttention implements AttentionKernels {
  static final String FILE = "attention.sm70";

  private final CudaDevice device;

  TensorCoreAttention(CudaDevice device) {
    this.device = device;
  }

  @Override
  public boolean takes(AttentionCall call, CudaTensor... others) {
    AttentionShape shape = call.shape();
    int headDim = shape.headDim();
    return call.type() != DType.F32
        && headDim <= 256
        && headDim % (headDim <= 128 ? 16 : 32) == 0
        && shape.scale() > 0
        && call.aligned(others);
  }

  @Override
  public void forward(AttentionCall call, CudaTensor out, CudaTensor logSumExp) {
    AttentionShape shape = call.shape();
    AttentionTiles tiles = tiles(AttentionPass.FORWARD, call);
    kernel(AttentionPass.FORWARD, call, tiles)
        .launch(
            call.queryHeads(),
            AttentionCall.tiles(call.queries(), tiles.own()),
            1,
            tiles.threads(),
            tiles.bytes(AttentionPass.FORWARD, shape.headDim()),
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
    AttentionTiles tiles = tiles(AttentionPass.BACKWARD_QUERIES, call);
    kernel(AttentionPass.BACKWARD_QUERIES, call, tiles)
        .launch(
            call.queryHeads(),
            AttentionCall.tiles(call.queries(), tiles.own()),
            1,
            tiles.threads(),
            tiles.bytes(AttentionPass.BACKWARD_QUERIES, shape.headDim()),
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
    AttentionTiles tiles = tiles(AttentionPass.BACKWARD_KEYS, call);
    kernel(AttentionPass.BACKWARD_KEYS, call, tiles)
        .launch(
            call.kvHeads(),
            AttentionCall.tiles(call.keys(), tiles.own()),
            tiles.split(),
            tiles.threads(),
            tiles.bytes(AttentionPass.BACKWARD_KEYS, shape.headDim()),
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

  private AttentionTiles tiles(AttentionPass pass, AttentionCall call) {
    return AttentionTiles.choose(pass, call.shape().headDim(), device.sharedBytesPerBlock());
  }

  private Kernel kernel(AttentionPass pass, AttentionCall call, AttentionTiles tiles) {
    return device
        .kernels()
        .get(FILE, pass.function(), call.type(), defines(pass, call.shape().headDim(), tiles));
  }

  static String[] defines(AttentionPass pass, int headDim, AttentionTiles tiles) {
    return new String[] {
      pass.name(),
      "HEAD=" + headDim,
      "WARPS=" + tiles.warps(),
      "FRAGMENTS=" + tiles.fragments(),
      "OTHER=" + tiles.other(),
      "SPLIT=" + tiles.split()
    };
  }
}

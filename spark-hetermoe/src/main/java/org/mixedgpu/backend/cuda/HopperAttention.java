package org.mixedgpu.backend.cuda;

import java.util.function.Predicate;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.device.ComputeCapability;
import org.mixedgpu.tensor.DType;

/**
 * Attention for bf16 and fp16 by wgmma and the copy engine, compute capability 9.0: head sizes 64
 * and 128. The backward pass is one kernel where there is enough work, which sums dQ in scratch
 * memory of 4 bytes per element of q, else two, which compute the scores twice.
 */
final class HopperAttention implements AttentionKernels {
  static final String FORWARD_FILE = "attention.sm90";
  static final String BACKWARD_FILE = "attention_backward.sm90";
  static final String ONE_PASS_FILE = "attention_one_pass.sm90";

  private static final ComputeCapability CAPABILITY = new ComputeCapability(9, 0);
  private static final int FINISH_THREADS = 256;

  private final CudaDevice device;
  private final Predicate<AttentionCall> onePass;
  private final HopperMaps maps;

  HopperAttention(CudaDevice device) {
    this(device, call -> HopperTiles.onePass(call, device.multiprocessors()));
  }

  /**
   * @param onePass whether a call's backward pass, of head size 128, is one kernel
   */
  HopperAttention(CudaDevice device, Predicate<AttentionCall> onePass) {
    this.device = device;
    this.onePass = onePass;
    this.maps = new HopperMaps(device);
  }

  @Override
  public boolean takes(AttentionCall call, CudaTensor... others) {
    AttentionShape shape = call.shape();
    return device.capability().equals(CAPABILITY)
        && call.type() != DType.F32
        && (shape.headDim() == 64 || shape.headDim() == 128)
        && call.queries() > 0
        && shape.scale() > 0
        && call.aligned(others);
  }

  @Override
  public void forward(AttentionCall call, CudaTensor out, CudaTensor logSumExp) {
    AttentionShape shape = call.shape();
    HopperTiles tiles = HopperTiles.of(AttentionPass.FORWARD, shape.headDim());
    kernel(FORWARD_FILE, AttentionPass.FORWARD, call, tiles)
        .launch(
            blocks(call.queryHeads(), call.queries(), tiles),
            1,
            1,
            tiles.threads(),
            tiles.bytes(shape.headDim()),
            device
                .arguments()
                .add(maps.queries(call, out, HopperTiles.ROWS))
                .add(maps.queries(call, call.q(), HopperTiles.ROWS))
                .add(maps.keys(call, call.k(), tiles.other()))
                .add(maps.keys(call, call.v(), tiles.other()))
                .add(logSumExp)
                .add(call.queries())
                .add(call.keys())
                .add(shape.queryHeads())
                .add(shape.kvHeads())
                .add(shape.batch())
                .add(call.window())
                .add(shape.scale()));
  }

  @Override
  public void backward(AttentionCall call, AttentionGradients gradients) {
    if (call.shape().headDim() == 128 && onePass.test(call)) {
      onePass(call, gradients);
    } else {
      queries(call, gradients);
      keys(call, gradients);
    }
  }

  private void queries(AttentionCall call, AttentionGradients gradients) {
    AttentionShape shape = call.shape();
    HopperTiles tiles = HopperTiles.of(AttentionPass.BACKWARD_QUERIES, shape.headDim());
    kernel(BACKWARD_FILE, AttentionPass.BACKWARD_QUERIES, call, tiles)
        .launch(
            blocks(call.queryHeads(), call.queries(), tiles),
            1,
            1,
            tiles.threads(),
            tiles.bytes(shape.headDim()),
            device
                .arguments()
                .add(maps.queries(call, gradients.dQ(), HopperTiles.ROWS))
                .add(maps.queries(call, gradients.dOut(), HopperTiles.ROWS))
                .add(maps.queries(call, call.q(), HopperTiles.ROWS))
                .add(maps.keys(call, call.k(), tiles.other()))
                .add(maps.keys(call, call.v(), tiles.other()))
                .add(gradients.statistics())
                .add(call.queries())
                .add(call.keys())
                .add(shape.queryHeads())
                .add(shape.kvHeads())
                .add(shape.batch())
                .add(call.window())
                .add(shape.scale())
                .add(call.padded()));
  }

  private void keys(AttentionCall call, AttentionGradients gradients) {
    AttentionShape shape = call.shape();
    HopperTiles tiles = HopperTiles.of(AttentionPass.BACKWARD_KEYS, shape.headDim());
    kernel(BACKWARD_FILE, AttentionPass.BACKWARD_KEYS, call, tiles)
        .launch(
            blocks(call.kvHeads(), call.keys(), tiles),
            1,
            1,
            tiles.threads(),
            tiles.bytes(shape.headDim()),
            device
                .arguments()
                .add(maps.keys(call, gradients.dK(), HopperTiles.ROWS))
                .add(maps.keys(call, gradients.dV(), HopperTiles.ROWS))
                .add(maps.queries(call, gradients.dOut(), tiles.other()))
                .add(maps.queries(call, call.q(), tiles.other()))
                .add(maps.keys(call, call.k(), HopperTiles.ROWS))
                .add(maps.keys(call, call.v(), HopperTiles.ROWS))
                .add(gradients.statistics())
                .add(call.queries())
                .add(call.keys())
                .add(shape.queryHeads())
                .add(shape.kvHeads())
                .add(shape.batch())
                .add(call.window())
                .add(shape.scale())
                .add(call.padded()));
  }

  private void onePass(AttentionCall call, AttentionGradients gradients) {
    AttentionShape shape = call.shape();
    HopperTiles tiles = HopperTiles.ONE_PASS;
    CudaTensor sums =
        device
            .scratch()
            .bytes(
                "attention.sums",
                call.queryHeads() * call.padded() * shape.headDim() * Float.BYTES);
    String[] defines = tiles.defines("BACKWARD", shape.headDim());
    device
        .kernels()
        .get(ONE_PASS_FILE, "attentionBackward", call.type(), defines)
        .launch(
            blocks(call.kvHeads(), call.keys(), tiles),
            1,
            1,
            tiles.threads(),
            tiles.bytes(shape.headDim()),
            device
                .arguments()
                .add(maps.keys(call, gradients.dK(), HopperTiles.ROWS))
                .add(maps.keys(call, gradients.dV(), HopperTiles.ROWS))
                .add(maps.queries(call, gradients.dOut(), tiles.other()))
                .add(maps.queries(call, call.q(), tiles.other()))
                .add(maps.keys(call, call.k(), HopperTiles.ROWS))
                .add(maps.keys(call, call.v(), HopperTiles.ROWS))
                .add(sums)
                .add(gradients.progress())
                .add(gradients.statistics())
                .add(call.queries())
                .add(call.keys())
                .add(shape.queryHeads())
                .add(shape.kvHeads())
                .add(shape.batch())
                .add(call.window())
                .add(shape.scale())
                .add(call.padded()));
    device
        .kernels()
        .get(ONE_PASS_FILE, "attentionBackwardFinish", call.type(), defines)
        .launch(
            call.queryHeads(),
            AttentionCall.tiles(call.padded(), tiles.other()),
            1,
            FINISH_THREADS,
            0,
            device
                .arguments()
                .add(gradients.dQ())
                .add(sums)
                .add(call.queries())
                .add(shape.queryHeads())
                .add(shape.scale())
                .add(call.padded()));
  }

  private Kernel kernel(String file, AttentionPass pass, AttentionCall call, HopperTiles tiles) {
    return device
        .kernels()
        .get(
            file, pass.function(), call.type(), tiles.defines(pass.name(), call.shape().headDim()));
  }

  /** One block per multiprocessor takes piece after piece of the work. */
  private long blocks(long heads, int rows, HopperTiles tiles) {
    return Math.min(heads * AttentionCall.tiles(rows, tiles.own()), device.ownMultiprocessors());
  }
}

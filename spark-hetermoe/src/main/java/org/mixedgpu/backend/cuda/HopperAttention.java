package org.mixedgpu.backend.cuda;

import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.device.ComputeCapability;
import org.mixedgpu.tensor.DType;

/**
 * Attention for bf16 and fp16 by wgmma and the copy engine, kernel file attention.sm90: head sizes
 * 64 and 128, compute capability 9.0.
 */
final class HopperAttention implements AttentionKernels {
  static final String FILE = "attention.sm90";

  private static final ComputeCapability CAPABILITY = new ComputeCapability(9, 0);

  /** Rows of a box of what a warpgroup owns. */
  private static final int OWN = 64;

  /** Columns of a box: the 128 bytes of the swizzle. */
  private static final int COLUMNS = 64;

  /** Maps kept: those of some dozen layers, 128 bytes each. */
  private static final int MOST_MAPS = 4096;

  /**
   * How a kernel is cut.
   *
   * @param consumers warpgroups that compute, beside one that loads
   * @param other rows of the other side at a time
   * @param stages tiles of the other side on their way
   */
  private record Tiles(int consumers, int other, int stages) {
    int own() {
      return consumers * OWN;
    }

    int threads() {
      return (consumers + 1) * 128;
    }

    /** Alignment, two own tiles, two of the other side with their statistics, barriers. */
    int bytes(int headDim) {
      return 1024
          + 2 * own() * headDim * 2
          + stages * (2 * other * headDim * 2 + other * 8)
          + 16
          + stages * 32;
    }
  }

  private record MapKey(
      long pointer, DType type, int heads, int rows, int batch, int width, int box) {}

  private final CudaDevice device;
  private final Map<MapKey, byte[]> maps =
      new LinkedHashMap<>(16, 0.75f, true) {
        @Override
        protected boolean removeEldestEntry(Map.Entry<MapKey, byte[]> eldest) {
          return size() > MOST_MAPS;
        }
      };

  HopperAttention(CudaDevice device) {
    this.device = device;
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
    Tiles tiles = tiles(AttentionPass.FORWARD, shape.headDim());
    kernel(AttentionPass.FORWARD, call)
        .launch(
            blocks(call.queryHeads(), call.queries(), tiles),
            1,
            1,
            tiles.threads(),
            tiles.bytes(shape.headDim()),
            queryMap(call, out, OWN),
            queryMap(call, call.q(), OWN),
            keyMap(call, call.k(), tiles.other()),
            keyMap(call, call.v(), tiles.other()),
            logSumExp,
            call.queries(),
            call.keys(),
            shape.queryHeads(),
            shape.kvHeads(),
            shape.batch(),
            shape.window(),
            shape.scale());
  }

  @Override
  public void backwardQueries(
      AttentionCall call, CudaTensor dQ, CudaTensor dOut, CudaTensor statistics) {
    AttentionShape shape = call.shape();
    Tiles tiles = tiles(AttentionPass.BACKWARD_QUERIES, shape.headDim());
    kernel(AttentionPass.BACKWARD_QUERIES, call)
        .launch(
            blocks(call.queryHeads(), call.queries(), tiles),
            1,
            1,
            tiles.threads(),
            tiles.bytes(shape.headDim()),
            queryMap(call, dQ, OWN),
            queryMap(call, dOut, OWN),
            queryMap(call, call.q(), OWN),
            keyMap(call, call.k(), tiles.other()),
            keyMap(call, call.v(), tiles.other()),
            statistics,
            call.queries(),
            call.keys(),
            shape.queryHeads(),
            shape.kvHeads(),
            shape.batch(),
            shape.window(),
            shape.scale(),
            call.padded());
  }

  @Override
  public void backwardKeys(
      AttentionCall call, CudaTensor dK, CudaTensor dV, CudaTensor dOut, CudaTensor statistics) {
    AttentionShape shape = call.shape();
    Tiles tiles = tiles(AttentionPass.BACKWARD_KEYS, shape.headDim());
    kernel(AttentionPass.BACKWARD_KEYS, call)
        .launch(
            blocks(call.kvHeads(), call.keys(), tiles),
            1,
            1,
            tiles.threads(),
            tiles.bytes(shape.headDim()),
            keyMap(call, dK, OWN),
            keyMap(call, dV, OWN),
            queryMap(call, dOut, tiles.other()),
            queryMap(call, call.q(), tiles.other()),
            keyMap(call, call.k(), OWN),
            keyMap(call, call.v(), OWN),
            statistics,
            call.queries(),
            call.keys(),
            shape.queryHeads(),
            shape.kvHeads(),
            shape.batch(),
            shape.window(),
            shape.scale(),
            call.padded());
  }

  private static Tiles tiles(AttentionPass pass, int headDim) {
    boolean wide = headDim == 128;
    switch (pass) {
      case FORWARD:
        return wide ? new Tiles(2, 128, 2) : new Tiles(3, 128, 2);
      case BACKWARD_QUERIES:
        return new Tiles(2, 64, 4);
      case BACKWARD_KEYS:
        return new Tiles(2, 64, wide ? 2 : 4);
    }
    throw new MixedGpuException(Fault.BUG, "No tiles for " + pass);
  }

  static String[] defines(AttentionPass pass, int headDim) {
    Tiles tiles = tiles(pass, headDim);
    return new String[] {
      pass.name(),
      "HEAD=" + headDim,
      "CONSUMERS=" + tiles.consumers(),
      "OTHER=" + tiles.other(),
      "STAGES=" + tiles.stages()
    };
  }

  private Kernel kernel(AttentionPass pass, AttentionCall call) {
    return device
        .kernels()
        .get(FILE, pass.function(), call.type(), defines(pass, call.shape().headDim()));
  }

  /** One block per multiprocessor takes piece after piece of the work. */
  private long blocks(long heads, int rows, Tiles tiles) {
    return Math.min(heads * AttentionCall.tiles(rows, tiles.own()), device.multiprocessors());
  }

  private byte[] queryMap(AttentionCall call, CudaTensor tensor, int rows) {
    return map(call, tensor, call.shape().queryHeads(), call.queries(), rows);
  }

  private byte[] keyMap(AttentionCall call, CudaTensor tensor, int rows) {
    return map(call, tensor, call.shape().kvHeads(), call.keys(), rows);
  }

  /** [batch, rows, heads, headDim] in boxes of one head: rows outside a sequence are no rows. */
  private byte[] map(AttentionCall call, CudaTensor tensor, int heads, int rows, int box) {
    int batch = call.shape().batch();
    int width = call.shape().headDim();
    MapKey key = new MapKey(tensor.pointer(), call.type(), heads, rows, batch, width, box);
    synchronized (maps) {
      return maps.computeIfAbsent(
          key,
          k ->
              TensorMaps.dense(
                  k.type,
                  k.pointer,
                  new long[] {batch, rows, heads, width},
                  new int[] {1, box, 1, COLUMNS},
                  TensorMaps.Swizzle.BYTES_128));
    }
  }
}

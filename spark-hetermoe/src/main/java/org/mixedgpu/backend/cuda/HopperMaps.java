package org.mixedgpu.backend.cuda;

import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.tensor.DType;

/** Tensor maps of attention's operands; a map is made once and kept by address and shape. */
final class HopperMaps {
  /** Columns of a box: the 128 bytes of the swizzle. */
  private static final int COLUMNS = 64;

  /** Those of some hundred layers, 128 bytes each. */
  private static final int MOST = 4096;

  private record Key(
      long pointer, DType type, int batch, int rows, int heads, int headDim, int boxRows) {}

  private final CudaDevice device;

  private final Map<Key, byte[]> maps =
      new LinkedHashMap<>(16, 0.75f, true) {
        @Override
        protected boolean removeEldestEntry(Map.Entry<Key, byte[]> eldest) {
          return size() > MOST;
        }
      };

  HopperMaps(CudaDevice device) {
    this.device = device;
  }

  /** Of a tensor shaped as q, in boxes of one head and so many rows. */
  byte[] queries(AttentionCall call, CudaTensor tensor, int boxRows) {
    return map(call, tensor, call.queries(), call.shape().queryHeads(), boxRows);
  }

  /** Of a tensor shaped as k. */
  byte[] keys(AttentionCall call, CudaTensor tensor, int boxRows) {
    return map(call, tensor, call.keys(), call.shape().kvHeads(), boxRows);
  }

  /** Four dimensions, so that a box ends where its sequence ends. */
  private byte[] map(AttentionCall call, CudaTensor tensor, int rows, int heads, int boxRows) {
    Key key =
        new Key(
            tensor.pointer(),
            call.type(),
            call.shape().batch(),
            rows,
            heads,
            call.shape().headDim(),
            boxRows);
    synchronized (maps) {
      return maps.computeIfAbsent(key, this::make);
    }
  }

  private byte[] make(Key key) {
    return TensorMaps.dense(
        device,
        key.type,
        key.pointer,
        new long[] {key.batch, key.rows, key.heads, key.headDim},
        new int[] {1, key.boxRows, 1, COLUMNS},
        TensorMaps.Swizzle.BYTES_128);
  }
}

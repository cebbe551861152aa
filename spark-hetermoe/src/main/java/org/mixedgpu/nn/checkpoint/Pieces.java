package org.mixedgpu.nn.checkpoint;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** Elements of tensors on the host, piece by piece. */
final class Pieces {
  /** Host memory used, in bytes. */
  private static final int BYTES = 4 << 20;

  /** F32 elements of a piece. */
  static final int ELEMENTS = BYTES / Float.BYTES;

  /** Takes a piece of little-endian F32 elements and where it starts. */
  interface Reader {
    void read(ByteBuffer piece, long firstElement);
  }

  private Pieces() {}

  static ByteBuffer buffer() {
    return ByteBuffer.allocateDirect(BYTES).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Reads count elements of a tensor of any float type from one of them on. */
  static void read(
      Backend backend, Tensor tensor, long first, long count, ByteBuffer piece, Reader reader) {
    Tensor flat = tensor.view(Shape.of(tensor.shape().elements()));
    long most = Math.min(ELEMENTS, count);
    boolean wide = tensor.type() == DType.F32;
    try (Tensor converted = wide ? null : backend.allocate(DType.F32, Shape.of(most))) {
      for (long done = 0; done < count; ) {
        int now = (int) Math.min(most, count - done);
        Tensor part = flat.rows(first + done, now);
        if (!wide) {
          backend.copy(converted.rows(0, now), part);
          part = converted.rows(0, now);
        }
        backend.read(piece.clear().limit(now * Float.BYTES), part);
        reader.read(piece.flip(), done);
        done += now;
      }
    }
  }
}

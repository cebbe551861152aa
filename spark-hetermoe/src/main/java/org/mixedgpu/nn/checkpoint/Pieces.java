package org.mixedgpu.nn.checkpoint;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** Elements of tensors on the host, piece by piece. */
final class Pieces {
  /** Host memory used, in bytes. */
  static final int BYTES = 4 << 20;

  /** Takes a piece of little-endian F32 elements and where it starts. */
  interface Reader {
    void read(ByteBuffer piece, long firstElement);
  }

  private Pieces() {}

  static ByteBuffer buffer() {
    return ByteBuffer.allocateDirect(BYTES).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** Reads count elements of a tensor from one of them on. */
  static void read(
      Backend backend, Tensor tensor, long first, long count, ByteBuffer piece, Reader reader) {
    Tensor flat = tensor.view(Shape.of(tensor.shape().elements()));
    for (long done = 0; done < count; ) {
      int now = (int) Math.min(piece.capacity() / Float.BYTES, count - done);
      backend.read(piece.clear().limit(now * Float.BYTES), flat.rows(first + done, now));
      reader.read(piece.flip(), done);
      done += now;
    }
  }
}

package org.mixedgpu.nn;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/** Arrays to and from tensors. */
public final class Floats {
  private Floats() {}

  /** Of any float type; the bits of integers. */
  public static float[] read(Backend b, Tensor t) {
    if (t.type().bytes() == 2) {
      try (Tensor floats = b.allocate(DType.F32, t.shape())) {
        b.copy(floats, t);
        return read(b, floats);
      }
    }
    ByteBuffer bytes = host((int) t.bytes());
    b.read(bytes, t);
    float[] x = new float[(int) t.shape().elements()];
    bytes.clear().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(x);
    return x;
  }

  public static void write(Backend b, Tensor t, float[] x) {
    ByteBuffer bytes = host(x.length * Float.BYTES);
    bytes.asFloatBuffer().put(x);
    b.write(t, bytes);
  }

  /** An I32 tensor; the caller closes it. */
  public static Tensor ints(Backend b, int... values) {
    Tensor t = b.allocate(DType.I32, Shape.of(values.length));
    ByteBuffer bytes = host(values.length * Integer.BYTES);
    bytes.asIntBuffer().put(values);
    b.write(t, bytes);
    return t;
  }

  private static ByteBuffer host(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }
}

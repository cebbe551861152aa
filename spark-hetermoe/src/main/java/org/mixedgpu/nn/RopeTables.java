package org.mixedgpu.nn;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Cosines and sines of the rotary position embedding for positions [0, positions), as Hugging Face
 * computes them: frequencies and angles in F32. Owns its tensors.
 */
public final class RopeTables implements AutoCloseable {
  private final Tensor tables;
  private final Tensor cos;
  private final Tensor sin;

  public RopeTables(Backend backend, ModelConfig config, int positions) {
    float[] frequencies = RopeFrequencies.of(config);
    float scaling = RopeFrequencies.attentionFactor(config.rope());
    int half = frequencies.length;
    ByteBuffer cosBytes = host(positions, half);
    ByteBuffer sinBytes = host(positions, half);
    for (int position = 0; position < positions; position++) {
      for (float frequency : frequencies) {
        // One rounding to F32, as Hugging Face does it; a double angle would differ at the far end.
        float angle = frequency * position;
        cosBytes.putFloat((float) StrictMath.cos(angle) * scaling);
        sinBytes.putFloat((float) StrictMath.sin(angle) * scaling);
      }
    }
    tables = backend.allocate(DType.F32, Shape.of(2L * positions, half));
    cos = tables.rows(0, positions);
    sin = tables.rows(positions, positions);
    backend.write(cos, cosBytes.flip());
    backend.write(sin, sinBytes.flip());
  }

  private static ByteBuffer host(int positions, int half) {
    return ByteBuffer.allocateDirect(Math.multiplyExact(positions, half * Float.BYTES))
        .order(ByteOrder.LITTLE_ENDIAN);
  }

  /** [positions, D/2], attention scaling included. */
  public Tensor cos() {
    return cos;
  }

  /** [positions, D/2], attention scaling included. */
  public Tensor sin() {
    return sin;
  }

  public int positions() {
    return (int) cos.shape().rows();
  }

  @Override
  public void close() {
    tables.close();
  }
}

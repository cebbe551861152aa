package org.mixedgpu.backend.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Random tensors for timings, made on the device: billions of values out of one block of random
 * ones, from a random place in it on for each piece. Owns its tensors.
 */
public final class DeviceData implements AutoCloseable {
  private static final int BLOCK = 1 << 22;

  private final Backend backend;
  private final Random random = new Random(1);
  private final List<Tensor> open = new ArrayList<>();
  private final Tensor block;

  public DeviceData(Backend backend) {
    this.backend = backend;
    ByteBuffer floats = ByteBuffer.allocateDirect(BLOCK * Float.BYTES);
    floats.order(ByteOrder.LITTLE_ENDIAN);
    while (floats.hasRemaining()) {
      floats.putFloat(random.nextFloat() - 0.5f);
    }
    block = own(backend.allocate(DType.F32, Shape.of(BLOCK)));
    backend.write(block, floats.flip());
  }

  private Tensor own(Tensor tensor) {
    open.add(tensor);
    return tensor;
  }

  /** Of the compute type, zeroed: an output. */
  public Tensor out(long... dims) {
    return own(backend.allocate(backend.computeType(), Shape.of(dims)));
  }

  /** F32, zeroed: an output. */
  public Tensor out32(long... dims) {
    return own(backend.allocate(DType.F32, Shape.of(dims)));
  }

  /** Of the compute type, uniform in ±0.5. */
  public Tensor real(long... dims) {
    return fill(out(dims), 1);
  }

  /** F32, uniform in ±0.5. */
  public Tensor f32(long... dims) {
    return fill(out32(dims), 1);
  }

  /** I32 of these values. */
  public Tensor i32(int[] values, long... dims) {
    Tensor tensor = own(backend.allocate(DType.I32, Shape.of(dims)));
    ByteBuffer bytes = ByteBuffer.allocateDirect(values.length * Integer.BYTES);
    bytes.order(ByteOrder.LITTLE_ENDIAN).asIntBuffer().put(values);
    backend.write(tensor, bytes);
    return tensor;
  }

  /** I32, uniform in [0, bound). */
  public Tensor indexes(int bound, long... dims) {
    int[] values = new int[(int) Shape.of(dims).elements()];
    Arrays.setAll(values, i -> random.nextInt(bound));
    return i32(values, dims);
  }

  /** The numbers below count in random order. */
  public int[] permutation(int count) {
    int[] order = new int[count];
    for (int i = 0; i < count; i++) {
      int j = random.nextInt(i + 1);
      order[i] = order[j];
      order[j] = i;
    }
    return order;
  }

  /** Random weights of a deviation of 0.02, norms 1, biases 0; masters too where there are any. */
  public void fill(Parameters parameters) {
    for (Parameters.Entry entry : parameters.entries()) {
      if (entry.name().endsWith("norm.weight")) {
        backend.fill(entry.exact(), 1);
      } else if (!entry.name().endsWith(".bias")) {
        fill(entry.exact(), 0.07f);
      }
    }
    parameters.refresh();
    backend.synchronize();
  }

  private Tensor fill(Tensor tensor, float factor) {
    long elements = tensor.shape().elements();
    Tensor flat = tensor.view(Shape.of(elements));
    for (long at = 0; at < elements; ) {
      int from = random.nextInt(BLOCK / 2);
      // Views of 16-bit tensors keep the alignment of vector loads.
      from -= from % 64;
      long count = Math.min(BLOCK - from, elements - at);
      backend.copy(flat.rows(at, count), block.rows(from, count));
      at += count;
    }
    if (factor != 1) {
      backend.scale(tensor, factor);
    }
    return tensor;
  }

  @Override
  public void close() {
    backend.synchronize();
    open.forEach(Tensor::close);
  }
}

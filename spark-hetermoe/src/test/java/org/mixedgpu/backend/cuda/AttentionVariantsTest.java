package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.backend.CudaOptions;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;

/** All variants of attention that the GPU can run agree with the plain one, and with themselves. */
@Tag("gpu")
class AttentionVariantsTest {
  /** Sequences, queries, keys, query heads, KV heads, head size, window. */
  @Retention(RetentionPolicy.RUNTIME)
  @CsvSource({
    "1, 300, 300, 4, 1, 128, 0",
    "2, 513, 700, 8, 2, 128, 0",
    "2, 1000, 1000, 4, 4, 128, 300",
    "2, 513, 700, 8, 2, 64, 0",
    "1, 400, 400, 4, 2, 64, 77",
    "1, 200, 260, 2, 1, 96, 0",
    "1, 200, 260, 2, 1, 256, 0",
  })
  private @interface Shapes {}

  @TempDir static Path cache;

  private final SplittableRandom random = new SplittableRandom(7);
  private DType type;
  private CudaDevice device;
  private CudaStream stream;
  private final List<CudaTensor> open = new ArrayList<>();

  private void open(DType computeType, Optional<CudaDevice.Generation> olderGeneration) {
    type = computeType;
    device = new CudaDevice(new CudaOptions("0", type, Long.MAX_VALUE, cache), olderGeneration);
    stream = device.current();
  }

  @AfterEach
  void close() {
    open.forEach(CudaTensor::close);
    device.close();
  }

  @ParameterizedTest
  @Shapes
  void allAgree(int batch, int queries, int keys, int heads, int kvHeads, int width, int window) {
    open(DType.BF16, Optional.empty());
    agree(
        List.of(
            new HopperAttention(device, call -> false),
            new HopperAttention(device, call -> true),
            new TensorCoreAttention(device)),
        batch,
        queries,
        keys,
        heads,
        kvHeads,
        width,
        window);
  }

  @ParameterizedTest
  @Shapes
  void voltasAgrees(
      int batch, int queries, int keys, int heads, int kvHeads, int width, int window) {
    open(DType.F16, Optional.of(OlderGenerations.VOLTA));
    agree(
        List.of(new TensorCoreAttention(device)),
        batch,
        queries,
        keys,
        heads,
        kvHeads,
        width,
        window);
  }

  private void agree(
      List<AttentionKernels> variants,
      int batch,
      int queries,
      int keys,
      int heads,
      int kvHeads,
      int width,
      int window) {
    AttentionShape shape =
        new AttentionShape(batch, heads, kvHeads, width, (float) (1 / Math.sqrt(width)), window);
    CudaTensor q = values(batch * queries, heads * width);
    CudaTensor k = values(batch * keys, kvHeads * width);
    CudaTensor v = values(batch * keys, kvHeads * width);
    CudaTensor dOut = values(batch * queries, heads * width);
    List<float[]> expected = run(new PlainAttention(device), shape, q, k, v, dOut);
    int compared = 0;
    for (AttentionKernels variant : variants) {
      if (!variant.takes(new AttentionCall(shape, q, k, v), dOut)) {
        continue;
      }
      List<float[]> got = run(variant, shape, q, k, v, dOut);
      List<float[]> again = run(variant, shape, q, k, v, dOut);
      for (int i = 0; i < expected.size(); i++) {
        assertThat(distance(got.get(i), expected.get(i)))
            .as("%s, result %d", variant.getClass().getSimpleName(), i)
            .isLessThan(tolerance());
        assertThat(again.get(i)).isEqualTo(got.get(i));
      }
      compared++;
    }
    assumeThat(compared).as("variants for this GPU").isPositive();
  }

  /** Half a unit in the last place, twice: of probabilities and of results; and some room. */
  private double tolerance() {
    return type == DType.BF16 ? 0x1p-7 : 0x1p-10;
  }

  /** out, dQ, dK and dV. */
  private List<float[]> run(
      AttentionKernels variant,
      AttentionShape shape,
      CudaTensor q,
      CudaTensor k,
      CudaTensor v,
      CudaTensor dOut) {
    CudaAttention attention = new CudaAttention(device, List.of(variant));
    CudaTensor out = alike(q);
    CudaTensor logSumExp = tensor(DType.F32, q.shape().rows(), shape.queryHeads());
    CudaTensor dQ = alike(q);
    CudaTensor dK = alike(k);
    CudaTensor dV = alike(v);
    attention.attention(out, logSumExp, q, k, v, shape);
    attention.attentionBackward(dQ, dK, dV, dOut, q, k, v, out, logSumExp, shape);
    return List.of(floats(out), floats(dQ), floats(dK), floats(dV));
  }

  private CudaTensor alike(CudaTensor other) {
    return tensor(other.type(), other.shape().toArray());
  }

  private CudaTensor tensor(DType type, long... dims) {
    CudaTensor tensor = device.memory().allocate(type, Shape.of(dims), stream);
    open.add(tensor);
    return tensor;
  }

  /** Evenly spread over [-2, 2). */
  private CudaTensor values(long rows, long columns) {
    CudaTensor tensor = tensor(type, rows, columns);
    ByteBuffer bytes =
        ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.nativeOrder());
    while (bytes.hasRemaining()) {
      float value = (float) (random.nextDouble() * 4 - 2);
      bytes.putShort(bits(value));
    }
    stream.staging().write(tensor.pointer(), bytes.flip());
    return tensor;
  }

  private float[] floats(CudaTensor tensor) {
    ByteBuffer bytes =
        ByteBuffer.allocateDirect((int) tensor.bytes()).order(ByteOrder.nativeOrder());
    stream.staging().read(bytes, tensor.pointer());
    stream.synchronize();
    float[] values = new float[(int) tensor.shape().elements()];
    for (int i = 0; i < values.length; i++) {
      values[i] = value(bytes.getShort(2 * i));
    }
    return values;
  }

  /** Towards 0; in F16 what would be subnormal becomes 0. */
  private short bits(float value) {
    int wide = Float.floatToRawIntBits(value);
    if (type == DType.BF16) {
      return (short) (wide >>> 16);
    }
    int rebiased = (wide & Integer.MAX_VALUE) - ((127 - 15) << 23);
    return rebiased < 1 << 23 ? 0 : (short) (wide >>> 16 & 0x8000 | rebiased >> 13);
  }

  /** Of a finite number. */
  private float value(short bits) {
    if (type == DType.BF16) {
      return Float.intBitsToFloat(bits << 16);
    }
    int exponent = bits >> 10 & 31;
    int fraction = (exponent == 0 ? 0 : 1 << 10) | bits & 1023;
    return Math.copySign(Math.scalb((float) fraction, Math.max(exponent, 1) - 25), bits);
  }

  private static double distance(float[] got, float[] expected) {
    double difference = 0;
    double size = 0;
    for (int i = 0; i < got.length; i++) {
      difference += Math.pow((double) got[i] - expected[i], 2);
      size += (double) expected[i] * expected[i];
    }
    return Math.sqrt(difference / size);
  }
}

package org.mixedgpu.nn;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.stream.IntStream;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Random initial weights. Element i of a tensor is a pure function of (seed, name of the tensor,
 * i), so that neither threads nor a partition of the experts change a value.
 */
final class Initializer {
  /** Largest piece written at once, in elements. */
  private static final int PIECE = 1 << 22;

  /** Normal probability below minus three standard deviations: where the distribution is cut. */
  private static final double CUT = 0.0013498980316300933;

  private final Backend backend;
  private final ModelConfig config;
  private final Part part;
  private final long seed;

  /**
   * One for all tensors: direct memory is freed by the collector only, which does not know when it
   * runs short, and a model has thousands of experts.
   */
  private final ByteBuffer bytes;

  private final FloatBuffer floats;

  /**
   * @param largest elements of the largest tensor to come
   */
  Initializer(Backend backend, ModelConfig config, Part part, long seed, long largest) {
    this.backend = backend;
    this.config = config;
    this.part = part;
    this.seed = seed;
    this.bytes =
        ByteBuffer.allocateDirect((int) Math.min(largest, PIECE) * Float.BYTES)
            .order(ByteOrder.LITTLE_ENDIAN);
    this.floats = bytes.asFloatBuffer();
  }

  void initialize(String name, Tensor tensor) {
    if (ParameterNames.isGain(name)) {
      backend.fill(tensor, 1);
    } else if (name.endsWith(".bias")) {
      backend.fill(tensor, 0);
    } else if (name.contains(".mlp.experts.")) {
      String[] words = name.split("\\.");
      int layer = Integer.parseInt(words[2]);
      int[] ids = part.experts(config, layer);
      Shape one = Shape.of(tensor.shape().dim(1), tensor.shape().dim(2));
      for (int i = 0; i < ids.length; i++) {
        String own = ParameterNames.expert(layer, ids[i], words[words.length - 1]);
        normal(tensor.rows(i, 1).view(one), stream(seed, own));
      }
    } else {
      normal(tensor, stream(seed, name));
    }
  }

  private void normal(Tensor tensor, long stream) {
    Tensor flat = tensor.view(Shape.of(tensor.shape().elements()));
    long elements = flat.shape().elements();
    float deviation = config.initializerRange();
    for (long first = 0; first < elements; first += PIECE) {
      int count = (int) Math.min(PIECE, elements - first);
      long start = first;
      IntStream.range(0, count)
          .parallel()
          .forEach(i -> floats.put(i, (float) (deviation * truncatedNormal(stream, start + i))));
      backend.write(flat.rows(first, count), bytes.clear().limit(count * Float.BYTES));
    }
  }

  static double truncatedNormal(long stream, long index) {
    double uniform = ((mix(stream + index * 0x9E3779B97F4A7C15L) >>> 11) + 0.5) * 0x1.0p-53;
    return normalQuantile(CUT + uniform * (1 - 2 * CUT));
  }

  /** FNV-1a of the name, mixed with the seed. */
  static long stream(long seed, String name) {
    long hash = 0xcbf29ce484222325L;
    for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
      hash = (hash ^ (b & 0xff)) * 0x100000001b3L;
    }
    return mix(hash ^ mix(seed + 0x9E3779B97F4A7C15L));
  }

  /** The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom generators). */
  private static long mix(long z) {
    long a = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    long b = (a ^ (a >>> 27)) * 0x94d049bb133111ebL;
    return b ^ (b >>> 31);
  }

  /**
   * Inverse of the normal distribution, about seven digits: Wichura, algorithm AS 241 (PPND7),
   * without the far tails, which the cut excludes. StrictMath, so that every JVM agrees.
   */
  static double normalQuantile(double p) {
    double q = p - 0.5;
    if (Math.abs(q) <= 0.425) {
      double r = 0.180625 - q * q;
      return q
          * (((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179)
          / (((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1);
    }
    double r = Math.sqrt(-StrictMath.log(q < 0 ? p : 1 - p)) - 1.6;
    double z =
        (((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777)
            / ((0.12021132975 * r + 0.73700164250) * r + 1);
    return q < 0 ? -z : z;
  }
}

package org.mixedgpu.backend.cuda;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import java.util.Arrays;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/**
 * Descriptors for the copy engine of sm_90 and later: where a tensor lies, and the box of it that
 * one instruction brings to shared memory. The driver encodes them; a kernel takes one by value.
 * What a box reads outside the tensor arrives as zeros.
 *
 * <p>A descriptor depends on its arguments only and costs some microseconds, so callers keep it by
 * pointer and shape.
 */
final class TensorMaps {
  /** Bytes of a descriptor. */
  static final int BYTES = 128;

  private static final int ALIGNMENT = 64;
  private static final int PROMOTE_TO_256_BYTES = 3;

  /** How 16-byte units of a box's rows are permuted in shared memory. */
  enum Swizzle {
    NONE(0),
    BYTES_32(32),
    BYTES_64(64),
    BYTES_128(128);

    private final int rowBytes;

    Swizzle(int rowBytes) {
      this.rowBytes = rowBytes;
    }
  }

  private TensorMaps() {}

  /**
   * Describes a dense, row-major tensor. Sizes are given as in {@code Shape}, the last one
   * contiguous.
   *
   * @param device that has it, for messages
   * @param type F32, F16 or BF16
   * @param pointer device address, a multiple of 16
   * @param sizes 2 to 5 dimensions; the last one a multiple of 16 bytes
   * @param box elements per dimension, 1 to 256; the last one at most as wide as the swizzle
   * @return 128 bytes to be passed by value as a {@code __grid_constant__} parameter
   */
  static byte[] dense(
      Object device, DType type, long pointer, long[] sizes, int[] box, Swizzle swizzle) {
    long[] strides = new long[sizes.length - 1];
    long bytes = type.bytes();
    for (int i = sizes.length - 1; i > 0; i--) {
      bytes *= sizes[i];
      strides[i - 1] = bytes;
    }
    return strided(device, type, pointer, sizes, strides, box, swizzle);
  }

  /**
   * The same with distances of one's own.
   *
   * @param strides bytes from one index to the next, for every dimension but the last, multiples of
   *     16
   */
  static byte[] strided(
      Object device,
      DType type,
      long pointer,
      long[] sizes,
      long[] strides,
      int[] box,
      Swizzle swizzle) {
    int rank = sizes.length;
    Check.input(
        rank >= 2 && rank <= 5 && strides.length == rank - 1 && box.length == rank,
        "A tensor map needs 2 to 5 sizes, one stride fewer and as many box sizes; found %d, %d, %d",
        rank,
        strides.length,
        box.length);
    int width = box[rank - 1] * type.bytes();
    Check.input(
        width % 16 == 0 && (swizzle == Swizzle.NONE || width <= swizzle.rowBytes),
        "A tensor map needs a box whose rows are a multiple of 16 bytes within the swizzle %s; found"
            + " %d bytes",
        swizzle,
        width);
    Memory memory = new Memory(BYTES + ALIGNMENT);
    Pointer aligned = memory.align(ALIGNMENT);
    int[] ones = new int[rank];
    Arrays.fill(ones, 1);
    int status =
        DriverCalls.cuTensorMapEncodeTiled(
            aligned,
            code(type),
            rank,
            new Pointer(pointer),
            reversed(sizes),
            reversed(strides),
            reversed(box),
            ones,
            0,
            swizzle.ordinal(),
            PROMOTE_TO_256_BYTES,
            0);
    if (status != 0) {
      throw new MixedGpuException(
          Fault.BUG,
          String.format(
              "cuTensorMapEncodeTiled failed with status %d on %s for %s%s at 0x%x, strides %s"
                  + " bytes, box %s, swizzle %s; it needs a pointer and strides that are multiples of 16 bytes",
              status,
              device,
              type,
              Arrays.toString(sizes),
              pointer,
              Arrays.toString(strides),
              Arrays.toString(box),
              swizzle));
    }
    return aligned.getByteArray(0, BYTES);
  }

  /** CUtensorMapDataType. */
  private static int code(DType type) {
    switch (type) {
      case F16:
        return 6;
      case F32:
        return 7;
      case BF16:
        return 9;
      case I32:
        return 3;
    }
    throw new MixedGpuException(Fault.BUG, "No tensor map data type for " + type);
  }

  /** CUDA counts dimensions from the contiguous one. */
  private static long[] reversed(long[] values) {
    long[] out = new long[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = values[out.length - 1 - i];
    }
    return out;
  }

  private static int[] reversed(int[] values) {
    int[] out = new int[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = values[out.length - 1 - i];
    }
    return out;
  }
}

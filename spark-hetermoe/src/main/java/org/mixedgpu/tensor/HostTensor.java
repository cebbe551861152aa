package org.mixedgpu.tensor;

import java.nio.ByteBuffer;
import java.util.Arrays;
import org.apache.arrow.memory.util.MemoryUtil;
import org.mixedgpu.base.Check;

/**
 * A tensor in host memory, with access to its elements for backends that compute there. Elements
 * are counted from the start of this tensor or view. Access after close is a {@code BUG}, as long
 * as the two do not race.
 */
public final class HostTensor implements Tensor {
  private final DType type;
  private final Shape shape;
  private final Block block;
  private final long offset;
  private final Runnable release;

  HostTensor(DType type, Shape shape, Block block, long offset, Runnable release) {
    this.type = type;
    this.shape = shape;
    this.block = block;
    this.offset = offset;
    this.release = release;
  }

  @Override
  public DType type() {
    return type;
  }

  @Override
  public Shape shape() {
    return shape;
  }

  @Override
  public HostTensor rows(long first, long count) {
    if (first < 0 || count < 0 || first > shape.rows() - count) {
      throw Check.badInput(
          "Rows %d to %d are outside of a tensor of shape %s", first, first + count, shape);
    }
    long start = offset + first * shape.rowElements() * type.bytes();
    return new HostTensor(type, shape.withRows(count), block, start, null);
  }

  @Override
  public HostTensor view(Shape other) {
    if (other.elements() != shape.elements()) {
      throw Check.badInput(
          "A tensor of shape %s cannot be viewed as %s: the numbers of elements differ",
          shape, other);
    }
    return new HostTensor(type, other, block, offset, null);
  }

  /** Address of the first element, for native code; valid until the allocated tensor is closed. */
  public long address() {
    return block.address() + offset;
  }

  /** Copies F32 elements to an array. */
  public void load(long element, float[] to, int at, int count) {
    block.load(offset + element * Float.BYTES, to, at, count);
  }

  /** Copies F32 elements from an array. */
  public void store(long element, float[] from, int at, int count) {
    block.store(offset + element * Float.BYTES, from, at, count);
  }

  public float f32(long element) {
    return Float.intBitsToFloat(int32(element));
  }

  public void f32(long element, float value) {
    int32(element, Float.floatToRawIntBits(value));
  }

  public int int32(long element) {
    return block.int32(offset + element * Integer.BYTES);
  }

  public void int32(long element, int value) {
    block.int32(offset + element * Integer.BYTES, value);
  }

  /** The bits of an F16 or BF16 element. */
  public short int16(long element) {
    return block.int16(offset + element * Short.BYTES);
  }

  public void int16(long element, short value) {
    block.int16(offset + element * Short.BYTES, value);
  }

  /** All elements of a small I32 tensor. */
  public int[] ints() {
    int[] copy = new int[Math.toIntExact(shape.elements())];
    for (int i = 0; i < copy.length; i++) {
      copy[i] = int32(i);
    }
    return copy;
  }

  /** Fills all elements with the bits of an F32 value. */
  public void fill(long element, float value, long count) {
    float[] chunk = new float[(int) Math.min(count, 4096)];
    Arrays.fill(chunk, value);
    for (long done = 0; done < count; done += chunk.length) {
      store(element + done, chunk, 0, (int) Math.min(chunk.length, count - done));
    }
  }

  /** Overwrites all bytes with the buffer's remaining bytes, which must be as many. */
  public void write(ByteBuffer from) {
    checkSize(from);
    ByteBuffer source = from.duplicate();
    for (long done = 0; done < bytes(); ) {
      ByteBuffer part = block.bytes(offset + done, bytes() - done);
      int length = part.remaining();
      part.put(source.slice().limit(length));
      source.position(source.position() + length);
      done += length;
    }
    from.position(from.limit());
  }

  /** Copies all bytes into the buffer's remaining space, which must be as much. */
  public void read(ByteBuffer to) {
    checkSize(to);
    for (long done = 0; done < bytes(); ) {
      ByteBuffer part = block.bytes(offset + done, bytes() - done);
      done += part.remaining();
      to.put(part);
    }
  }

  /**
   * The tensor's own memory from a byte on, at most so many bytes and not beyond a segment of 1
   * GiB: for transports that move bytes between memory and network. Valid until the allocated
   * tensor is closed.
   */
  public ByteBuffer segment(long firstByte, long most) {
    Check.that(
        firstByte >= 0 && most >= 0 && firstByte + most <= bytes(),
        "Bytes %d to %d are outside of a tensor of %d bytes",
        firstByte,
        firstByte + most,
        bytes());
    return block.bytes(offset + firstByte, most);
  }

  /** Copies elements of a tensor of the same type, not overlapping. */
  public void copy(long element, HostTensor from, long fromElement, long count) {
    if (element < 0
        || fromElement < 0
        || element + count > shape.elements()
        || fromElement + count > from.shape.elements()
        || type != from.type) {
      throw Check.bug(
          "Copy of %d elements from %s at %d to %s at %d", count, from, fromElement, this, element);
    }
    int size = type.bytes();
    MemoryUtil.copyMemory(
        from.address() + fromElement * size, address() + element * size, count * size);
  }

  private void checkSize(ByteBuffer buffer) {
    if (buffer.remaining() != bytes()) {
      throw Check.badInput(
          "A tensor %s%s has %d bytes; the buffer has %d remaining",
          type, shape, bytes(), buffer.remaining());
    }
  }

  @Override
  public void close() {
    if (release != null) {
      release.run();
    }
  }

  @Override
  public String toString() {
    return type + shape.toString();
  }
}

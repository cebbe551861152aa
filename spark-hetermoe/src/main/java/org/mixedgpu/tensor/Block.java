package org.mixedgpu.tensor;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import org.apache.arrow.memory.ArrowBuf;
import org.mixedgpu.base.Check;

/**
 * Bounds-checked access to one allocation of any size. Java's buffers end at 2 GiB, so the memory
 * is seen as segments of 1 GiB.
 */
final class Block {
  private static final int SEGMENT_BITS = 30;
  private static final long SEGMENT_BYTES = 1L << SEGMENT_BITS;

  private final long address;
  private volatile ByteBuffer[] bytes;
  private volatile FloatBuffer[] floats;

  Block(ArrowBuf buffer, long start, long size) {
    this.address = buffer.memoryAddress() + start;
    int segments = (int) ((size + SEGMENT_BYTES - 1) >>> SEGMENT_BITS);
    ByteBuffer[] byteSegments = new ByteBuffer[segments];
    FloatBuffer[] floatSegments = new FloatBuffer[segments];
    for (int i = 0; i < segments; i++) {
      long first = i * SEGMENT_BYTES;
      int length = (int) Math.min(SEGMENT_BYTES, size - first);
      // slice(): ArrowBuf hands out the pooled chunk's buffer with a position; absolute access
      // needs index 0 at the start.
      byteSegments[i] =
          buffer.nioBuffer(start + first, length).slice().order(ByteOrder.LITTLE_ENDIAN);
      floatSegments[i] = byteSegments[i].asFloatBuffer();
    }
    this.bytes = byteSegments;
    this.floats = floatSegments;
  }

  long address() {
    open(bytes);
    return address;
  }

  void load(long offset, float[] to, int at, int count) {
    FloatBuffer[] segments = open(floats);
    long position = offset;
    int done = 0;
    while (done < count) {
      int inSegment = (int) (position & (SEGMENT_BYTES - 1));
      int step = (int) Math.min(count - done, (SEGMENT_BYTES - inSegment) / Float.BYTES);
      segments[(int) (position >>> SEGMENT_BITS)].get(inSegment / Float.BYTES, to, at + done, step);
      done += step;
      position += (long) step * Float.BYTES;
    }
  }

  void store(long offset, float[] from, int at, int count) {
    FloatBuffer[] segments = open(floats);
    long position = offset;
    int done = 0;
    while (done < count) {
      int inSegment = (int) (position & (SEGMENT_BYTES - 1));
      int step = (int) Math.min(count - done, (SEGMENT_BYTES - inSegment) / Float.BYTES);
      segments[(int) (position >>> SEGMENT_BITS)].put(
          inSegment / Float.BYTES, from, at + done, step);
      done += step;
      position += (long) step * Float.BYTES;
    }
  }

  /** The bytes from offset to the end of their segment or {@code most}, for bulk copies. */
  ByteBuffer bytes(long offset, long most) {
    int inSegment = (int) (offset & (SEGMENT_BYTES - 1));
    ByteBuffer segment = open(bytes)[(int) (offset >>> SEGMENT_BITS)];
    int length = (int) Math.min(most, segment.capacity() - inSegment);
    return segment.slice(inSegment, length).order(ByteOrder.LITTLE_ENDIAN);
  }

  int int32(long offset) {
    return open(bytes)[(int) (offset >>> SEGMENT_BITS)].getInt(
        (int) (offset & (SEGMENT_BYTES - 1)));
  }

  void int32(long offset, int value) {
    open(bytes)[(int) (offset >>> SEGMENT_BITS)].putInt(
        (int) (offset & (SEGMENT_BYTES - 1)), value);
  }

  short int16(long offset) {
    return open(bytes)[(int) (offset >>> SEGMENT_BITS)].getShort(
        (int) (offset & (SEGMENT_BYTES - 1)));
  }

  void int16(long offset, short value) {
    open(bytes)[(int) (offset >>> SEGMENT_BITS)].putShort(
        (int) (offset & (SEGMENT_BYTES - 1)), value);
  }

  void close() {
    bytes = null;
    floats = null;
  }

  private static <T> T open(T segments) {
    Check.that(segments != null, "A tensor was used after it was closed");
    return segments;
  }
}

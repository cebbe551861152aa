package org.mixedgpu.backend.cpu;

import com.sun.jna.Native;
import com.sun.jna.Pointer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/**
 * Buffers of one compute thread, kept from op to op. Each op numbers the buffers it holds at the
 * same time; contents are undefined.
 */
final class Scratch {
  private static final ThreadLocal<Scratch> OF_THREAD = ThreadLocal.withInitial(Scratch::new);
  private static final int SLOTS = 8;

  private final float[][] arrays = new float[SLOTS][0];
  private final OffHeap[] natives = new OffHeap[SLOTS];

  private Scratch() {}

  static Scratch ofThread() {
    return OF_THREAD.get();
  }

  /** An array of at least this length. */
  float[] array(int slot, int length) {
    if (arrays[slot].length < length) {
      arrays[slot] = new float[length];
    }
    return arrays[slot];
  }

  /** Memory outside the heap for at least this many floats, for native code. */
  OffHeap offHeap(int slot, int length) {
    if (natives[slot] == null || natives[slot].length < length) {
      natives[slot] = new OffHeap(length);
    }
    return natives[slot];
  }

  /** Freed with its thread, by the collector. */
  static final class OffHeap {
    final long address;
    private final int length;
    private final FloatBuffer floats;

    private OffHeap(int length) {
      this.length = length;
      ByteBuffer bytes = ByteBuffer.allocateDirect(length * Float.BYTES + 64).alignedSlice(64);
      this.floats = bytes.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
      this.address = Pointer.nativeValue(Native.getDirectBufferPointer(bytes));
    }

    void load(int index, float[] to, int count) {
      floats.get(index, to, 0, count);
    }

    void store(int index, float[] from, int count) {
      floats.put(index, from, 0, count);
    }
  }
}

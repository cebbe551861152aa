package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;

/** A few direct buffers for reuse: allocating one zeroes it, which costs as much as a copy. */
final class Buffers {
  /** One is being written, one read, one waits. */
  private static final int SPARES = 3;

  private final ArrayDeque<ByteBuffer> spares = new ArrayDeque<>();

  /** A buffer with this limit, little-endian. */
  ByteBuffer take(int bytes) {
    synchronized (this) {
      ByteBuffer spare = spares.poll();
      if (spare != null && spare.capacity() >= bytes) {
        return spare.clear().limit(bytes);
      }
    }
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  synchronized void give(ByteBuffer buffer) {
    if (spares.size() < SPARES) {
      spares.add(buffer);
    }
  }
}

package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Iterator;

/**
 * Direct buffers for reuse: allocating one zeroes its memory, page by page, which costs more than
 * sending it. Keeps no more bytes than may be under way.
 */
final class Buffers {
  private final long keepBytes;
  private final ArrayDeque<ByteBuffer> spares = new ArrayDeque<>();
  private long keptBytes;

  Buffers(long keepBytes) {
    this.keepBytes = keepBytes;
  }

  /** A buffer with this limit, little-endian. */
  ByteBuffer take(int bytes) {
    synchronized (this) {
      // Messages of one channel are of similar size, so the first that fits is good enough.
      for (Iterator<ByteBuffer> all = spares.iterator(); all.hasNext(); ) {
        ByteBuffer spare = all.next();
        if (spare.capacity() >= bytes) {
          all.remove();
          keptBytes -= spare.capacity();
          return spare.clear().limit(bytes);
        }
      }
    }
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  synchronized void give(ByteBuffer buffer) {
    // The first was not large enough for someone or was not asked for: the latest is the better.
    while (!spares.isEmpty() && keptBytes + buffer.capacity() > keepBytes) {
      keptBytes -= spares.removeLast().capacity();
    }
    spares.addFirst(buffer);
    keptBytes += buffer.capacity();
  }
}

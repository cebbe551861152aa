package org.mixedgpu.hetermoe.exchange;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.Iterator;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/** One direction of one channel between two members of one process: a bounded queue. */
final class Link {
  /** A message in host memory. */
  record Packet(int[] header, DType type, long rows, long rowElements, ByteBuffer bytes) {}

  /** Buffers kept for the next messages: one is being written, one read, one waits. */
  private static final int SPARES = 3;

  private static final int LEAST_BUFFER = 4096;

  private final String name;
  private final ExchangeLimits limits;
  private final Supplier<String> aborted;
  private final ReentrantLock lock = new ReentrantLock();
  private final Condition changed = lock.newCondition();
  private final ArrayDeque<Packet> queue = new ArrayDeque<>();
  private final ArrayDeque<ByteBuffer> spares = new ArrayDeque<>();
  private long queuedBytes;
  private String closedBy;

  /**
   * @param name for messages, such as {@code dispatch from rank 0 to rank 2}
   * @param aborted the reason of the abort, or null
   */
  Link(String name, ExchangeLimits limits, Supplier<String> aborted) {
    this.name = name;
    this.limits = limits;
    this.aborted = aborted;
  }

  /** Waits for room and returns a buffer of this size; {@link #put} or {@link #discard} follows. */
  ByteBuffer reserve(int bytes) {
    lock.lock();
    try {
      long nanos = limits.timeout().toNanos();
      while (true) {
        refuseIfOver();
        if (queuedBytes == 0 || queuedBytes + bytes <= limits.queueBytes()) {
          break;
        }
        nanos = await(nanos, "room for " + bytes + " bytes");
      }
      queuedBytes += bytes;
      for (Iterator<ByteBuffer> each = spares.iterator(); each.hasNext(); ) {
        ByteBuffer spare = each.next();
        if (spare.capacity() >= bytes) {
          each.remove();
          return spare.clear().limit(bytes);
        }
      }
    } finally {
      lock.unlock();
    }
    // Sizes vary from message to message; powers of two make the buffers fit again.
    long capacity = Math.max(LEAST_BUFFER, Long.highestOneBit(bytes) << 1);
    return ByteBuffer.allocateDirect((int) Math.min(capacity, Integer.MAX_VALUE))
        .order(ByteOrder.LITTLE_ENDIAN)
        .limit(bytes);
  }

  void put(Packet packet) {
    lock.lock();
    try {
      queue.add(packet);
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** The next message, which stays in the queue until {@link #remove}. */
  Packet peek() {
    return peek(limits.timeout().toNanos());
  }

  /** Waits for the next message, however long. */
  void await() {
    peek(Long.MAX_VALUE);
  }

  private Packet peek(long limitNanos) {
    lock.lock();
    try {
      long nanos = limitNanos;
      while (queue.isEmpty()) {
        refuseIfOver();
        nanos = await(nanos, "a message");
      }
      String reason = aborted.get();
      if (reason != null) {
        throw new ExchangeAbortedException(reason);
      }
      return queue.peek();
    } finally {
      lock.unlock();
    }
  }

  void remove(Packet packet) {
    lock.lock();
    try {
      queue.remove();
      discard(packet.bytes());
    } finally {
      lock.unlock();
    }
  }

  /** Gives back a buffer of {@link #reserve}. */
  void discard(ByteBuffer bytes) {
    lock.lock();
    try {
      queuedBytes -= bytes.limit();
      if (spares.size() == SPARES) {
        spares.poll();
      }
      spares.add(bytes);
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** One end has left; what is in the queue can still be received. */
  void close(int rank) {
    lock.lock();
    try {
      closedBy = "rank " + rank;
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  /** Wakes those who wait, so that they see the abort. */
  void wake() {
    lock.lock();
    try {
      changed.signalAll();
    } finally {
      lock.unlock();
    }
  }

  private void refuseIfOver() {
    String reason = aborted.get();
    if (reason != null) {
      throw new ExchangeAbortedException(reason);
    }
    if (closedBy != null) {
      throw new MixedGpuException(
          Fault.MISSING,
          "Lost the peer on channel " + name + ": " + closedBy + " has closed its exchange");
    }
  }

  private long await(long nanos, String what) {
    if (nanos <= 0) {
      throw new MixedGpuException(
          Fault.EXHAUSTED,
          "Waited "
              + limits.timeout().toMillis()
              + " ms for "
              + what
              + " on channel "
              + name
              + "; see why the peer is slow, or raise the time limit of the exchange");
    }
    try {
      return changed.awaitNanos(nanos);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MixedGpuException(
          Fault.MISSING, "Interrupted while waiting for " + what + " on channel " + name, e);
    }
  }
}

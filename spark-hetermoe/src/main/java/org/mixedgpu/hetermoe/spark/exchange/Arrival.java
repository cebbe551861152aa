package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import org.apache.spark.network.client.TransportClient;
import org.mixedgpu.hetermoe.spark.exchange.Frame.Head;
import org.mixedgpu.tensor.HostTensor;

/**
 * One message on its way in: into a buffer, or, where its receiver already waits, straight into the
 * receiver's tensor. All methods are called with the inbox's lock held.
 */
final class Arrival {
  private final Head head;
  private final TransportClient from;
  private ByteBuffer buffer;

  /** The receiver's rows, while the receiver waits. */
  private HostTensor target;

  private long received;
  private boolean complete;

  /** The socket may be writing to the target, or what it wrote was not taken yet. */
  private boolean inPlace;

  private long bytesInPlace;

  /**
   * @param buffer for the bytes; null where {@link #enterTarget} follows at once
   */
  Arrival(Head head, TransportClient from, ByteBuffer buffer) {
    this.head = head;
    this.from = from;
    this.buffer = buffer;
  }

  void take(ByteBuffer data) {
    if (target == null) {
      buffer.put(data);
      return;
    }
    if (inPlace) {
      received += data.remaining();
      bytesInPlace += data.remaining();
      data.position(data.limit());
      inPlace = false;
      return;
    }
    while (data.hasRemaining()) {
      ByteBuffer into = target.segment(received, data.remaining());
      int length = into.remaining();
      into.put(data.slice().limit(length));
      data.position(data.position() + length);
      received += length;
    }
  }

  /**
   * The target's memory for the next bytes, which the socket may write until {@link #take} or
   * {@link #readEnded}; null where the receiver does not wait.
   */
  ByteBuffer next() {
    if (target == null || received == head.bytes()) {
      return null;
    }
    inPlace = true;
    return target.segment(received, head.bytes() - received);
  }

  /** The socket does not write to the target any more. */
  void readEnded() {
    inPlace = false;
  }

  long bytesInPlace() {
    return bytesInPlace;
  }

  boolean isReadInPlace() {
    return inPlace;
  }

  /**
   * Its receiver waits: what has come moves to the tensor, and the rest will go there. Returns the
   * buffer, if there was one.
   */
  ByteBuffer enterTarget(HostTensor into) {
    ByteBuffer free = buffer;
    buffer = null;
    target = into.rows(0, head.rows());
    if (free != null) {
      take(free.flip());
    }
    return free;
  }

  /**
   * The receiver gives up and may free its tensor: what has come moves to this buffer. Not while
   * {@link #isReadInPlace}.
   */
  void leaveTarget(ByteBuffer to) {
    for (long done = 0; done < received; ) {
      ByteBuffer part = target.segment(done, received - done);
      done += part.remaining();
      to.put(part);
    }
    buffer = complete ? to.flip() : to;
    target = null;
  }

  void complete() {
    complete = true;
    if (target == null) {
      buffer.flip();
    }
  }

  boolean isComplete() {
    return complete;
  }

  Head head() {
    return head;
  }

  /** What holds the bytes; null where the receiver's tensor does. */
  ByteBuffer buffer() {
    return buffer;
  }

  /** Tells the sender that the memory is free again. */
  void credit() {
    from.send(Frame.credit(head.bytes()));
  }
}

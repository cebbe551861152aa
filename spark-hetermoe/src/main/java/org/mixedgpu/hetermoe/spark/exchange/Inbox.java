package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.function.Consumer;
import org.apache.spark.network.client.StreamCallbackWithID;
import org.apache.spark.network.client.TransportClient;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Tensor;

/**
 * Messages of one peer on one channel that have arrived and were not yet asked for. Its memory is
 * bounded by the sender, which waits for the credit that each receive gives back.
 */
final class Inbox {
  private final String channel;
  private final Peer peer;
  private final Consumer<String> lost;
  private final Runnable refuseIfAborted;
  private final Runnable refuse;
  private final Waiting waiting;
  private final Buffers buffers;
  private final ArrayDeque<Arrival> arrivals = new ArrayDeque<>();

  /** The tensor of a receiver that waits for the next message. */
  private HostTensor posted;

  private long bytesInPlace;

  /**
   * @param lost hears how the peer went; called without the lock
   * @param refuseIfAborted throws where the exchange is aborted
   */
  Inbox(
      String channel,
      Peer peer,
      Consumer<String> lost,
      Runnable refuseIfAborted,
      TransportOptions options) {
    this.channel = channel;
    this.peer = peer;
    this.lost = lost;
    this.refuseIfAborted = refuseIfAborted;
    this.refuse =
        () -> {
          refuseIfAborted.run();
          peer.refuseIfGone(channel);
        };
    this.waiting = new Waiting(options.timeoutMs());
    this.buffers = new Buffers(options.queueBytes());
  }

  /** Takes the bytes of one message from the network's thread as they come. */
  StreamCallbackWithID accept(Frame.Head head, TransportClient from) {
    InPlaceReads reads = InPlaceReads.of(from.getChannel());
    Arrival arrival;
    waiting.lock();
    try {
      if (arrivals.isEmpty() && posted != null && fits(head, posted)) {
        arrival = new Arrival(head, from, null);
        arrival.enterTarget(posted);
      } else {
        arrival = new Arrival(head, from, buffers.take(head.bytes()));
      }
      arrivals.add(arrival);
    } finally {
      waiting.unlock();
    }
    reads.expect(reader(arrival));
    return new StreamCallbackWithID() {
      @Override
      public String getID() {
        return channel;
      }

      @Override
      public void onData(String id, ByteBuffer data) {
        waiting.lock();
        try {
          arrival.take(data);
        } finally {
          waiting.unlock();
        }
      }

      @Override
      public void onComplete(String id) {
        reads.expect(null);
        waiting.lock();
        try {
          arrival.complete();
          bytesInPlace += arrival.bytesInPlace();
        } finally {
          waiting.unlock();
        }
        waiting.wake();
      }

      @Override
      public void onFailure(String id, Throwable cause) {
        reads.expect(null);
        lost.accept("broke off in the middle of a message (" + cause + ")");
      }
    };
  }

  private InPlaceReads.Reader reader(Arrival arrival) {
    return new InPlaceReads.Reader() {
      @Override
      public ByteBuffer next() {
        waiting.lock();
        try {
          return arrival.next();
        } finally {
          waiting.unlock();
        }
      }

      @Override
      public void ended() {
        waiting.lock();
        try {
          arrival.readEnded();
        } finally {
          waiting.unlock();
        }
        waiting.wake();
      }
    };
  }

  private static boolean fits(Frame.Head head, Tensor into) {
    return head.type() == into.type()
        && head.rowElements() == into.shape().rowElements()
        && head.rows() <= into.shape().rows();
  }

  Message receive(Tensor into, Backend backend) {
    Arrival first = await(into);
    Frame.Head head = first.head();
    Check.input(
        fits(head, into),
        "Cannot receive %d rows of %d %s from rank %d on channel %s into a %s tensor of shape %s",
        head.rows(),
        head.rowElements(),
        head.type(),
        peer.rank(),
        channel,
        into.type(),
        into.shape());
    ByteBuffer bytes = first.buffer();
    if (bytes != null && bytes.hasRemaining()) {
      backend.write(into.rows(0, head.rows()), bytes);
    }
    waiting.lock();
    try {
      arrivals.remove();
    } finally {
      waiting.unlock();
    }
    if (bytes != null) {
      buffers.give(bytes);
    }
    first.credit();
    return new Message(head.header(), head.rows());
  }

  /** Waits for the first message to be complete, however long. */
  void await() {
    waiting.lock();
    try {
      waiting.patiently(this::hasMessage, refuse, message());
    } finally {
      waiting.unlock();
    }
  }

  private boolean hasMessage() {
    return !arrivals.isEmpty() && arrivals.peek().isComplete();
  }

  private String message() {
    return "a message on channel " + channel + " from rank " + peer.rank();
  }

  /** Waits for the first message to be complete. */
  private Arrival await(Tensor into) {
    waiting.lock();
    try {
      // In host memory the network's thread can write where the receiver wants it. On a device the
      // copy belongs to the receiver's lane.
      if (into instanceof HostTensor host) {
        post(host);
      }
      try {
        waiting.until(this::hasMessage, refuse, message());
        refuseIfAborted.run();
        return arrivals.peek();
      } catch (RuntimeException e) {
        Arrival started = arrivals.peek();
        if (started != null && started.buffer() == null) {
          waiting.briefly(() -> !started.isReadInPlace());
          started.leaveTarget(buffers.take(started.head().bytes()));
        }
        throw e;
      } finally {
        posted = null;
      }
    } finally {
      waiting.unlock();
    }
  }

  private void post(HostTensor into) {
    Arrival first = arrivals.peek();
    if (first == null) {
      posted = into;
    } else if (!first.isComplete() && fits(first.head(), into)) {
      buffers.give(first.enterTarget(into));
    }
  }

  /** Bytes of complete messages that went from the socket straight into their tensor. */
  long bytesInPlace() {
    waiting.lock();
    try {
      return bytesInPlace;
    } finally {
      waiting.unlock();
    }
  }

  void wake() {
    waiting.wake();
  }
}

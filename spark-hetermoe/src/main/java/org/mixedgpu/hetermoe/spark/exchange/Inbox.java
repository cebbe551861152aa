package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import org.apache.spark.network.client.StreamCallbackWithID;
import org.apache.spark.network.client.TransportClient;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.Message;
import org.mixedgpu.tensor.Tensor;

/**
 * Messages of one peer on one channel that have arrived and were not yet asked for. Its memory is
 * bounded by the sender, which waits for the credit that each receive gives back.
 */
final class Inbox {
  private record Packet(Frame.Head head, ByteBuffer bytes, TransportClient from) {}

  private final String channel;
  private final Peer peer;
  private final Runnable refuse;
  private final Runnable refuseIfAborted;
  private final Waiting waiting;
  private final Buffers buffers = new Buffers();
  private final ArrayDeque<Packet> packets = new ArrayDeque<>();

  /**
   * @param refuseIfAborted throws where the exchange is aborted
   */
  Inbox(String channel, Peer peer, Runnable refuseIfAborted, long timeoutMs) {
    this.channel = channel;
    this.peer = peer;
    this.refuseIfAborted = refuseIfAborted;
    this.refuse =
        () -> {
          refuseIfAborted.run();
          peer.refuseIfGone(channel);
        };
    this.waiting = new Waiting(timeoutMs);
  }

  /** Takes the bytes of one message from the network's thread as they come. */
  StreamCallbackWithID accept(Frame.Head head, TransportClient from) {
    ByteBuffer bytes = buffers.take(head.bytes());
    return new StreamCallbackWithID() {
      @Override
      public String getID() {
        return channel;
      }

      @Override
      public void onData(String id, ByteBuffer data) {
        bytes.put(data);
      }

      @Override
      public void onComplete(String id) {
        waiting.lock();
        try {
          packets.add(new Packet(head, bytes.flip(), from));
        } finally {
          waiting.unlock();
        }
        waiting.wake();
      }

      @Override
      public void onFailure(String id, Throwable cause) {
        peer.leave("broke off in the middle of a message (" + cause + ")");
        waiting.wake();
      }
    };
  }

  Message receive(Tensor into, Backend backend) {
    Packet packet;
    waiting.lock();
    try {
      waiting.until(
          () -> !packets.isEmpty(),
          refuse,
          "a message on channel " + channel + " from rank " + peer.rank());
      refuseIfAborted.run();
      packet = packets.peek();
    } finally {
      waiting.unlock();
    }
    Frame.Head head = packet.head();
    Check.input(
        head.type() == into.type()
            && head.rowElements() == into.shape().rowElements()
            && head.rows() <= into.shape().rows(),
        "Cannot receive %d rows of %d %s from rank %d on channel %s into a %s tensor of shape %s",
        head.rows(),
        head.rowElements(),
        head.type(),
        peer.rank(),
        channel,
        into.type(),
        into.shape());
    if (head.bytes() > 0) {
      backend.write(into.rows(0, head.rows()), packet.bytes());
    }
    waiting.lock();
    try {
      packets.remove();
    } finally {
      waiting.unlock();
    }
    buffers.give(packet.bytes());
    packet.from().send(Frame.credit(head.bytes()));
    return new Message(head.header(), head.rows());
  }

  void wake() {
    waiting.wake();
  }
}

package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.util.function.Supplier;
import org.apache.spark.network.buffer.NioManagedBuffer;
import org.apache.spark.network.client.RpcResponseCallback;
import org.apache.spark.network.client.TransportClient;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.Tensor;

/** The way of one channel's messages to one peer: a connection of its own. */
final class Outbox {
  private final String channel;
  private final Peer peer;
  private final Supplier<TransportClient> connect;
  private final Runnable refuse;
  private final Waiting waiting;
  private final long queueBytes;
  private final Buffers buffers = new Buffers();

  /** Used by the one thread that sends. */
  private TransportClient connection;

  private long unreceivedBytes;
  private int undelivered;

  /**
   * @param connect opens the connection, at the first message
   * @param refuseIfAborted throws where the exchange is aborted
   */
  Outbox(
      String channel,
      Peer peer,
      Supplier<TransportClient> connect,
      Runnable refuseIfAborted,
      TransportOptions options) {
    this.channel = channel;
    this.peer = peer;
    this.connect = connect;
    this.refuse =
        () -> {
          refuseIfAborted.run();
          peer.refuseIfGone(channel);
        };
    this.waiting = new Waiting(options.timeoutMs());
    this.queueBytes = options.queueBytes();
  }

  void send(int self, int[] header, Tensor rows, Backend backend) {
    Check.input(
        rows.bytes() <= Integer.MAX_VALUE,
        "A message of %d bytes is too large; send at most %d at once",
        rows.bytes(),
        Integer.MAX_VALUE);
    int bytes = (int) rows.bytes();
    TransportClient to = reserve(bytes);
    ByteBuffer buffer = buffers.take(bytes);
    boolean sent = false;
    try {
      if (bytes > 0) {
        backend.read(buffer, rows);
      }
      buffer.position(0);
      Frame.Head head =
          new Frame.Head(
              self, channel, header, rows.type(), rows.shape().rows(), rows.shape().rowElements());
      to.uploadStream(
          new NioManagedBuffer(head.encode()),
          new NioManagedBuffer(buffer),
          new RpcResponseCallback() {
            @Override
            public void onSuccess(ByteBuffer reply) {
              delivered(buffer);
            }

            @Override
            public void onFailure(Throwable e) {
              peer.leave("could not be sent to: " + e.getMessage());
              delivered(buffer);
            }
          });
      sent = true;
    } finally {
      if (!sent) {
        delivered(buffer);
        credit(bytes);
      }
    }
  }

  private TransportClient reserve(int bytes) {
    refuse.run();
    if (connection == null) {
      // Without the lock, which the network's threads take: they must stay free for handshakes.
      connection = connect.get();
    }
    waiting.lock();
    try {
      waiting.until(
          () -> unreceivedBytes == 0 || unreceivedBytes + bytes <= queueBytes,
          refuse,
          "room for " + bytes + " bytes on channel " + channel + " to rank " + peer.rank());
      refuse.run();
      unreceivedBytes += bytes;
      undelivered++;
      return connection;
    } finally {
      waiting.unlock();
    }
  }

  private void delivered(ByteBuffer buffer) {
    buffers.give(buffer);
    waiting.lock();
    try {
      undelivered--;
    } finally {
      waiting.unlock();
    }
    waiting.wake();
  }

  /** The peer has received so many bytes. */
  void credit(long bytes) {
    waiting.lock();
    try {
      unreceivedBytes -= bytes;
    } finally {
      waiting.unlock();
    }
    waiting.wake();
  }

  /** Waits until the peer has all messages in its memory; fails when the peer is gone. */
  void flush() {
    waiting.lock();
    try {
      waiting.until(
          () -> undelivered == 0,
          refuse,
          "the arrival of " + undelivered + " messages on channel " + channel);
    } finally {
      waiting.unlock();
    }
  }

  void wake() {
    waiting.wake();
  }
}

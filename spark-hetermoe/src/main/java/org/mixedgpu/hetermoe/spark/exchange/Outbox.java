package org.mixedgpu.hetermoe.spark.exchange;

import java.nio.ByteBuffer;
import java.util.function.Consumer;
import java.util.function.Supplier;
import org.apache.spark.network.buffer.ManagedBuffer;
import org.apache.spark.network.buffer.NioManagedBuffer;
import org.apache.spark.network.client.RpcResponseCallback;
import org.apache.spark.network.client.TransportClient;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Tensor;

/** The way of one channel's messages to one peer: a connection of its own. */
final class Outbox {
  /** From this many bytes on the tensor itself is sent. */
  private static final int DIRECT = 256 << 10;

  private final String channel;
  private final Peer peer;
  private final Supplier<TransportClient> connect;
  private final Consumer<String> lost;
  private final Runnable refuse;
  private final Waiting waiting;
  private final long queueBytes;
  private final Buffers buffers;

  /** Used by the one thread that sends. */
  private TransportClient connection;

  private long unreceivedBytes;
  private int undelivered;

  /**
   * @param connect opens the connection, at the first message
   * @param lost hears how the peer went; called without the lock
   * @param refuseIfAborted throws where the exchange is aborted
   */
  Outbox(
      String channel,
      Peer peer,
      Supplier<TransportClient> connect,
      Consumer<String> lost,
      Runnable refuseIfAborted,
      TransportOptions options) {
    this.channel = channel;
    this.peer = peer;
    this.connect = connect;
    this.lost = lost;
    this.refuse =
        () -> {
          refuseIfAborted.run();
          peer.refuseIfGone(channel);
        };
    this.waiting = new Waiting(options.timeoutMs());
    this.queueBytes = options.queueBytes();
    this.buffers = new Buffers(queueBytes);
  }

  void send(int self, int[] header, Tensor rows, Backend backend) {
    Check.input(
        rows.bytes() <= Integer.MAX_VALUE,
        "A message of %d bytes is too large; send at most %d at once",
        rows.bytes(),
        Integer.MAX_VALUE);
    int bytes = (int) rows.bytes();
    TransportClient to = reserve(bytes);
    ManagedBuffer meta =
        new NioManagedBuffer(
            new Frame.Head(
                    self,
                    channel,
                    header,
                    rows.type(),
                    rows.shape().rows(),
                    rows.shape().rowElements())
                .encode());
    // On a device the copy belongs to the sender's lane; and small messages are not worth a wait.
    if (rows instanceof HostTensor host && bytes >= DIRECT) {
      sendDirect(to, meta, host);
    } else {
      sendCopy(to, meta, rows, backend);
    }
  }

  /** Lets the network write the tensor's own memory, and waits until it has. */
  private void sendDirect(TransportClient to, ManagedBuffer meta, HostTensor rows) {
    TensorRegion region = new TensorRegion(rows, waiting::wake);
    to.uploadStream(meta, new TensorBuffer(region), new Delivery(() -> {}));
    waiting.lock();
    try {
      waiting.until(
          region::isWritten,
          refuse,
          "channel " + channel + " to rank " + peer.rank() + " to take a message");
    } finally {
      region.cancel();
      waiting.unlock();
    }
  }

  private void sendCopy(TransportClient to, ManagedBuffer meta, Tensor rows, Backend backend) {
    ByteBuffer buffer = buffers.take((int) rows.bytes());
    boolean sent = false;
    try {
      if (buffer.hasRemaining()) {
        backend.read(buffer, rows);
      }
      buffer.position(0);
      to.uploadStream(meta, new NioManagedBuffer(buffer), new Delivery(() -> buffers.give(buffer)));
      sent = true;
    } finally {
      if (!sent) {
        new Delivery(() -> buffers.give(buffer)).end();
        credit(buffer.limit());
      }
    }
  }

  /** Hears that the peer has a message in its memory, or never will. */
  private final class Delivery implements RpcResponseCallback {
    private final Runnable release;

    Delivery(Runnable release) {
      this.release = release;
    }

    @Override
    public void onSuccess(ByteBuffer reply) {
      end();
    }

    @Override
    public void onFailure(Throwable e) {
      // Where the peer says why, the rest is its stack.
      String why = MixedGpuException.describe(e).lines().findFirst().orElse("");
      lost.accept("could not be sent to: " + why);
      end();
    }

    void end() {
      release.run();
      waiting.lock();
      try {
        undelivered--;
      } finally {
        waiting.unlock();
      }
      waiting.wake();
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

package org.mixedgpu.hetermoe.spark.exchange;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.Unpooled;
import io.netty.channel.AdaptiveRecvByteBufAllocator;
import io.netty.channel.Channel;
import io.netty.channel.ChannelConfig;
import io.netty.channel.RecvByteBufAllocator;
import io.netty.util.UncheckedBooleanSupplier;
import java.nio.ByteBuffer;

/**
 * Where the bytes of one connection go: those of a message whose receiver waits straight from the
 * socket into the receiver's tensor, all others into Netty's buffers. Without it every byte of a
 * tensor would be copied once more. One per connection; used on its event loop.
 */
final class InPlaceReads implements RecvByteBufAllocator {
  /** A message that is being received. */
  interface Reader {
    /**
     * Memory for its next bytes, which is in use until {@link #ended}; null where there is none.
     */
    ByteBuffer next();

    /** The memory given last is free of the socket; what was read has been reported before. */
    void ended();
  }

  /** Netty's usual reads of up to 64 KiB are many calls for a tensor. */
  private static final AdaptiveRecvByteBufAllocator USUAL =
      new AdaptiveRecvByteBufAllocator(64, 64 << 10, 256 << 10);

  private Reader reader;

  /** Those of this connection; where it has none, ones that nobody asks. */
  static InPlaceReads of(Channel connection) {
    return connection.config().getRecvByteBufAllocator() instanceof InPlaceReads reads
        ? reads
        : new InPlaceReads();
  }

  /** The message whose bytes come next; null after its end. */
  void expect(Reader message) {
    reader = message;
  }

  @Override
  public Handle newHandle() {
    return new InPlaceHandle((ExtendedHandle) USUAL.newHandle());
  }

  private final class InPlaceHandle implements ExtendedHandle {
    private final ExtendedHandle usual;
    private Reader reading;

    InPlaceHandle(ExtendedHandle usual) {
      this.usual = usual;
    }

    @Override
    public ByteBuf allocate(ByteBufAllocator allocator) {
      ByteBuffer memory = reader == null ? null : reader.next();
      if (memory == null) {
        return usual.allocate(allocator);
      }
      reading = reader;
      return Unpooled.wrappedBuffer(memory).clear();
    }

    @Override
    public void lastBytesRead(int bytes) {
      usual.lastBytesRead(bytes);
      if (bytes <= 0) {
        end();
      }
    }

    /** After the bytes were passed on, and after a read that failed. */
    @Override
    public void readComplete() {
      end();
      usual.readComplete();
    }

    private void end() {
      if (reading != null) {
        reading.ended();
        reading = null;
      }
    }

    @Override
    public int guess() {
      return usual.guess();
    }

    @Override
    public void reset(ChannelConfig config) {
      usual.reset(config);
    }

    @Override
    public void incMessagesRead(int count) {
      usual.incMessagesRead(count);
    }

    @Override
    public int lastBytesRead() {
      return usual.lastBytesRead();
    }

    @Override
    public void attemptedBytesRead(int bytes) {
      usual.attemptedBytesRead(bytes);
    }

    @Override
    public int attemptedBytesRead() {
      return usual.attemptedBytesRead();
    }

    @Override
    public boolean continueReading() {
      return usual.continueReading();
    }

    @Override
    public boolean continueReading(UncheckedBooleanSupplier more) {
      return usual.continueReading(more);
    }
  }
}

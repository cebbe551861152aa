package org.mixedgpu.hetermoe.exchange;

import java.util.ArrayList;
import java.util.List;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Sums over some members of a gang. Each element is summed by one member, in rank order, and then
 * given to all: every member gets the same bits, in every run. Where the exchange has a {@link
 * DeviceSum}, tensors are summed by that, in its order, which also is the same in every run on the
 * same GPUs. Collective: all members make the same calls in the same order. One thread. Owns a
 * buffer.
 */
public final class AllReduce implements AutoCloseable {
  private final Channel channel;
  private final TrainingBackend backend;
  private final int[] ranks;
  private final int self;
  private final Tensor memory;
  private final Tensor bucket;
  private final Tensor sum;
  private final Tensor incoming;

  /** Null where tensors are summed here. */
  private final DeviceSum device;

  private long bytesSent;

  /**
   * @param channel used by nothing else meanwhile
   * @param ranks the members, ascending, the caller's among them
   * @param bucketElements floats that are summed at once; 0 if only doubles will be
   */
  public AllReduce(
      Exchange exchange, String channel, int[] ranks, TrainingBackend backend, int bucketElements) {
    this.channel = exchange.channel(channel);
    this.backend = backend;
    this.ranks = ranks.clone();
    int index = -1;
    for (int i = 0; i < ranks.length; i++) {
      if (ranks[i] == exchange.rank()) {
        index = i;
      }
    }
    Check.input(index >= 0, "Rank %d is not among those that sum", exchange.rank());
    this.self = index;
    int size = ranks.length == 1 ? 0 : bucketElements;
    this.device = size == 0 ? null : exchange.deviceSum(ranks).orElse(null);
    int share = device != null ? 0 : (size + ranks.length - 1) / ranks.length;
    // One allocation, so that none is left open when there is no room for another.
    this.memory = backend.allocate(DType.F32, Shape.of(Math.max(size + 2L * share, 1)));
    this.bucket = memory.rows(0, Math.max(size, 1));
    this.sum = memory.rows(size, share);
    this.incoming = memory.rows(size + (long) share, share);
  }

  /** Replaces each F32 tensor by its sum over all members; they all give the same shapes. */
  public void sum(Iterable<Tensor> tensors) {
    if (ranks.length == 1) {
      return;
    }
    // Small tensors share a bucket, so that their messages are few.
    List<Tensor> pieces = new ArrayList<>();
    long filled = 0;
    long capacity = bucket.shape().elements();
    for (Tensor tensor : tensors) {
      Tensor flat = tensor.view(Shape.of(tensor.shape().elements()));
      long elements = flat.shape().elements();
      for (long first = 0; first < elements; ) {
        long count = Math.min(elements - first, capacity - filled);
        pieces.add(flat.rows(first, count));
        first += count;
        filled += count;
        if (filled == capacity) {
          sumPieces(pieces, filled);
          pieces.clear();
          filled = 0;
        }
      }
    }
    if (filled > 0) {
      sumPieces(pieces, filled);
    }
  }

  private void sumPieces(List<Tensor> pieces, long elements) {
    long at = 0;
    for (Tensor piece : pieces) {
      backend.copy(bucket.rows(at, piece.shape().rows()), piece);
      at += piece.shape().rows();
    }
    sumBucket(elements);
    at = 0;
    for (Tensor piece : pieces) {
      backend.copy(piece, bucket.rows(at, piece.shape().rows()));
      at += piece.shape().rows();
    }
  }

  private void sumBucket(long elements) {
    if (device != null) {
      Tensor values = bucket.rows(0, elements);
      bytesSent += values.bytes();
      device.sum(values);
      return;
    }
    for (int i = 0; i < ranks.length; i++) {
      if (i != self) {
        send(i, slice(i, elements));
      }
    }
    Tensor own = slice(self, elements);
    long count = own.shape().rows();
    Tensor total = sum.rows(0, count);
    for (int i = 0; i < ranks.length; i++) {
      Tensor part = own;
      if (i != self) {
        channel.receive(ranks[i], incoming);
        part = incoming.rows(0, count);
      }
      if (i == 0) {
        backend.copy(total, part);
      } else {
        backend.add(total, total, part);
      }
    }
    backend.copy(own, total);
    for (int i = 0; i < ranks.length; i++) {
      if (i != self) {
        send(i, own);
      }
    }
    for (int i = 0; i < ranks.length; i++) {
      if (i != self) {
        channel.receive(ranks[i], slice(i, elements));
      }
    }
  }

  private void send(int member, Tensor rows) {
    bytesSent += rows.bytes();
    channel.send(ranks[member], new int[0], rows);
  }

  private Tensor slice(int member, long elements) {
    long first = elements * member / ranks.length;
    long last = elements * (member + 1) / ranks.length;
    return bucket.rows(first, last - first);
  }

  /** The sums of the values over all members; they all give as many. */
  public double[] sum(double... values) {
    int[] header = new int[2 * values.length];
    for (int i = 0; i < values.length; i++) {
      long bits = Double.doubleToRawLongBits(values[i]);
      header[2 * i] = (int) (bits >>> 32);
      header[2 * i + 1] = (int) bits;
    }
    for (int i = 0; i < ranks.length; i++) {
      if (i != self) {
        channel.send(ranks[i], header, bucket.rows(0, 0));
      }
    }
    double[] sums = new double[values.length];
    for (int i = 0; i < ranks.length; i++) {
      int[] part = i == self ? header : channel.receive(ranks[i], bucket).header();
      Check.that(
          part.length == header.length,
          "Rank %d sums %d values, rank %d sums %d",
          ranks[self],
          values.length,
          ranks[i],
          part.length / 2);
      for (int v = 0; v < sums.length; v++) {
        long bits = (long) part[2 * v] << 32 | (part[2 * v + 1] & 0xFFFFFFFFL);
        sums[v] += Double.longBitsToDouble(bits);
      }
    }
    return sums;
  }

  /**
   * Returns when all members are here, however long that takes; fails when one is lost or the
   * exchange is aborted.
   */
  public void barrier() {
    for (int i = 0; i < ranks.length; i++) {
      if (i != self) {
        channel.send(ranks[i], new int[0], bucket.rows(0, 0));
      }
    }
    for (int i = 0; i < ranks.length; i++) {
      if (i != self) {
        channel.await(ranks[i]);
        channel.receive(ranks[i], bucket);
      }
    }
  }

  /** Payload sent so far by {@link #sum(Iterable)}. */
  public long bytesSent() {
    return bytesSent;
  }

  @Override
  public void close() {
    memory.close();
  }
}

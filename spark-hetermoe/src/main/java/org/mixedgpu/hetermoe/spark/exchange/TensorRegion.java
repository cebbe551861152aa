package org.mixedgpu.hetermoe.spark.exchange;

import java.io.IOException;
import java.nio.channels.WritableByteChannel;
import org.apache.spark.network.util.AbstractFileRegion;
import org.mixedgpu.tensor.HostTensor;

/**
 * A tensor in host memory as the network's threads write it to the connection, without a copy in
 * between. The sender waits until all is written, and after {@link #cancel} the tensor is not
 * touched any more.
 */
final class TensorRegion extends AbstractFileRegion {
  private final HostTensor rows;
  private final Runnable whenWritten;
  private final long bytes;
  private long transferred;
  private boolean cancelled;

  /**
   * @param whenWritten called once all bytes are written, without a lock of ours
   */
  TensorRegion(HostTensor rows, Runnable whenWritten) {
    this.rows = rows;
    this.whenWritten = whenWritten;
    this.bytes = rows.bytes();
  }

  @Override
  public long position() {
    return 0;
  }

  @Override
  public synchronized long transferred() {
    return transferred;
  }

  @Override
  public long count() {
    return bytes;
  }

  @Override
  public long transferTo(WritableByteChannel target, long position) throws IOException {
    long now = write(target);
    if (now > 0 && isWritten()) {
      whenWritten.run();
    }
    return now;
  }

  private synchronized long write(WritableByteChannel target) throws IOException {
    if (cancelled) {
      throw new IOException("The sender has given up");
    }
    long before = transferred;
    int written = 1;
    while (transferred < bytes && written > 0) {
      written = target.write(rows.segment(transferred, bytes - transferred));
      transferred += Math.max(0, written);
    }
    return transferred - before;
  }

  /** Whether the tensor may be written again. */
  synchronized boolean isWritten() {
    return transferred == bytes;
  }

  synchronized void cancel() {
    cancelled = true;
  }

  @Override
  protected void deallocate() {
    // The tensor is the sender's.
  }
}

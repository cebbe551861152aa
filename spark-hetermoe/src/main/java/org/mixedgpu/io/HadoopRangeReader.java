package org.mixedgpu.io;

import java.io.IOException;
import java.nio.ByteBuffer;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.StreamCapabilities;
import org.mixedgpu.base.Check;

/** Positional reads of one open Hadoop file. */
final class HadoopRangeReader implements RangeReader {
  /** Where a stream reads only into arrays, bytes for direct memory pass through one this long. */
  private static final int COPY_BYTES = 1 << 20;

  private final String path;
  private final long size;
  private final FSDataInputStream in;
  private final boolean readsBuffers;

  HadoopRangeReader(String path, long size, FSDataInputStream in) {
    this.path = path;
    this.size = size;
    this.in = in;
    this.readsBuffers = in.hasCapability(StreamCapabilities.PREADBYTEBUFFER);
  }

  @Override
  public String path() {
    return path;
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public void readFully(long position, ByteBuffer into) {
    Check.input(position >= 0, "Cannot read %s at the negative position %d", path, position);
    Check.intact(
        position <= size - into.remaining(),
        "%s has %d bytes; %d bytes at position %d were to be read, so it has been cut",
        path,
        size,
        into.remaining(),
        position);
    try {
      if (into.hasArray()) {
        in.readFully(
            position, into.array(), into.arrayOffset() + into.position(), into.remaining());
        into.position(into.limit());
      } else if (readsBuffers) {
        in.readFully(position, into);
      } else {
        copy(position, into);
      }
    } catch (IOException e) {
      throw HadoopFaults.of("read", new Path(path), e);
    }
  }

  private void copy(long position, ByteBuffer into) throws IOException {
    byte[] buffer = new byte[Math.min(COPY_BYTES, into.remaining())];
    long at = position;
    while (into.hasRemaining()) {
      int count = Math.min(buffer.length, into.remaining());
      in.readFully(at, buffer, 0, count);
      into.put(buffer, 0, count);
      at += count;
    }
  }

  @Override
  public void close() {
    try {
      in.close();
    } catch (IOException e) {
      throw HadoopFaults.of("close", new Path(path), e);
    }
  }
}

package org.mixedgpu.io;

import java.nio.ByteBuffer;

/** A file open for reading at any position. Several threads may read at once. */
public interface RangeReader extends AutoCloseable {
  String path();

  /** Bytes of the file when it was opened. */
  long size();

  /**
   * Fills the buffer's remaining bytes from this position of the file. {@code CORRUPT} where the
   * file ends before: the caller knows from {@link #size} how much there is to read.
   */
  void readFully(long position, ByteBuffer into);

  @Override
  void close();
}

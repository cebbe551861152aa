package org.mixedgpu.io;

import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;

/** A file being written, invisible until published. One thread at a time. */
public interface NewFile extends WritableByteChannel {
  /** The path that {@link #publish} gives it. */
  String path();

  /** Bytes written so far. */
  long position();

  /** Writes all remaining bytes; returns their number. */
  @Override
  int write(ByteBuffer from);

  /**
   * Makes the file visible under its path in one step, unless there is a file already, which then
   * stays as it is: false. Ends the writing in both cases. Where the rename failed midway, looks
   * which of both happened; {@code UNKNOWN_OUTCOME} if that can't be seen either.
   */
  boolean publish();

  /** Deletes what was written, unless it was published. */
  @Override
  void close();
}

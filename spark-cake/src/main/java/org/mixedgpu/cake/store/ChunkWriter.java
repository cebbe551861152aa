package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;
import java.util.function.Consumer;
import org.mixedgpu.cake.key.PrefixKey;

/**
 * Appends chunks to the store. Give the chunks of one prompt last chunk first: a reader walks from
 * the back of a prompt to its front, so that its walk is a forward read of the file. One thread.
 */
public interface ChunkWriter extends AutoCloseable {
  /**
   * Whether somebody who did this writer's work before has published this chunk: an earlier use of
   * the same answers, or a task that ran twice. Ask before each append. Other copies are not found,
   * because that would mean to read every index.
   */
  boolean isPublished(PrefixKey key);

  /**
   * Appends one chunk, unless this writer has it already.
   *
   * @param payload fills a buffer of exactly one chunk's bytes; called before this returns
   * @return whether it was appended
   */
  boolean append(PrefixKey key, PrefixKey parent, int[] tokens, Consumer<ByteBuffer> payload);

  /** Chunks appended so far. */
  long chunks();

  /** Bytes written so far. */
  long bytes();

  /** Publishes all that was appended. */
  void finish();

  /** Discards what was not published. */
  @Override
  void close();
}

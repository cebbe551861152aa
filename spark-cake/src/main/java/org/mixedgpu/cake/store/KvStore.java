package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;
import java.util.function.BooleanSupplier;
import org.mixedgpu.cake.key.KvLayout;

/**
 * Chunks of KV cache of one layout, written once and then only read. A lookup that fails for any
 * reason is a miss with that reason; no method ever gives other bytes, keys or tokens than were
 * written. Any thread may call any method, except that a {@link ChunkWriter} belongs to one.
 */
public interface KvStore extends AutoCloseable {
  KvLayout layout();

  /** What is stored now; bundles whose index can't be trusted are named there and left out. */
  CacheSnapshot snapshot();

  /** The size of the buffer that {@link #load} needs. */
  int bufferBytes();

  /**
   * Reads a chunk and checks it.
   *
   * @param into at least {@link #bufferBytes}; its contents are undefined afterwards, but for the
   *     payload of a {@link Load} that is loaded
   * @param wanted asked between the parts of a long read; the read ends there once it says no
   */
  Load load(StoredChunk chunk, ByteBuffer into, BooleanSupplier wanted);

  /** Reads a chunk and checks it, to the end. */
  default Load load(StoredChunk chunk, ByteBuffer into) {
    return load(chunk, into, () -> true);
  }

  /** Starts writing; nothing is visible to others before {@link ChunkWriter#finish}. */
  ChunkWriter writer();

  /** Closes what is open for reading. */
  @Override
  void close();
}

package org.mixedgpu.hetermoe.spark.data;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.RangeReader;

/**
 * Reads blocks of one shard and believes none whose CRC differs. Closed it keeps what it knows of
 * the shard, and opens the file again for the next block. One thread at a time.
 */
final class ShardReader implements AutoCloseable {
  private final FileStore store;
  private final String path;
  private final long size;

  /** Null while it is closed. */
  private RangeReader file;

  private final int blockTokens;
  private final long tokens;
  private final ByteBuffer sums;

  ShardReader(FileStore store, String path) {
    this.store = store;
    this.path = path;
    file = store.open(path);
    try {
      size = file.size();
      int least = ShardWriter.HEADER_BYTES + ShardWriter.TRAILER_BYTES;
      Check.intact(
          size >= least,
          "Token shard %s has %d bytes, fewer than the smallest shard's %d; write it again",
          path,
          size,
          least);
      ByteBuffer header = read(0, ShardWriter.HEADER_BYTES);
      byte[] magic = new byte[ShardWriter.MAGIC.length];
      header.get(magic);
      int version = header.getInt();
      blockTokens = header.getInt();
      Check.intact(
          Arrays.equals(magic, ShardWriter.MAGIC)
              && version == ShardWriter.VERSION
              && blockTokens > 0,
          "%s is not a token shard of version %d; its version is %d, its block %d tokens",
          path,
          ShardWriter.VERSION,
          version,
          blockTokens);
      ByteBuffer trailer = read(size - ShardWriter.TRAILER_BYTES, ShardWriter.TRAILER_BYTES);
      tokens = trailer.getLong();
      int sum = trailer.getInt();
      byte[] end = new byte[ShardWriter.END_MAGIC.length];
      trailer.get(end);
      long blocks = tokens < 0 ? -1 : (tokens + blockTokens - 1) / blockTokens;
      // Not tokens * 4: a damaged count must not overflow into a size that fits.
      long expected = tokens < 0 || tokens > size ? -1 : least + (tokens + blocks) * Integer.BYTES;
      Check.intact(
          Arrays.equals(end, ShardWriter.END_MAGIC) && size == expected,
          "Token shard %s is damaged: it has %d bytes and says %d tokens; write it again",
          path,
          size,
          tokens);
      int sumBytes = Math.toIntExact(blocks * Integer.BYTES);
      sums = read(size - ShardWriter.TRAILER_BYTES - sumBytes, sumBytes);
      ByteBuffer covered = ByteBuffer.allocate(header.limit() + sumBytes + Long.BYTES);
      covered.put(header.rewind()).put(sums.duplicate()).put(trailer.slice(0, Long.BYTES));
      Check.intact(
          ShardWriter.sum(covered.array(), covered.capacity()) == sum,
          "Token shard %s is damaged: its checksums have another checksum; write it again",
          path);
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  long tokens() {
    return tokens;
  }

  int blockTokens() {
    return blockTokens;
  }

  int[] block(int index) {
    long first = (long) index * blockTokens;
    int count = (int) Math.min(blockTokens, tokens - first);
    Check.that(index >= 0 && count > 0, "%s has no block %d", path, index);
    if (file == null) {
      file = store.open(path);
      Check.intact(
          file.size() == size,
          "Token shard %s has %d bytes and had %d; write the shards again, and not while they are"
              + " read",
          path,
          file.size(),
          size);
    }
    ByteBuffer bytes =
        read(ShardWriter.HEADER_BYTES + first * Integer.BYTES, count * Integer.BYTES);
    Check.intact(
        ShardWriter.sum(bytes.array(), bytes.limit()) == sums.getInt(index * Integer.BYTES),
        "Token shard %s is damaged in tokens %d to %d; write it again",
        path,
        first,
        first + count);
    int[] block = new int[count];
    bytes.asIntBuffer().get(block);
    return block;
  }

  private ByteBuffer read(long position, int count) {
    ByteBuffer bytes = ByteBuffer.allocate(count).order(ByteOrder.LITTLE_ENDIAN);
    file.readFully(position, bytes);
    return bytes.flip();
  }

  @Override
  public void close() {
    try (RangeReader last = file) {
      file = null;
    }
  }
}

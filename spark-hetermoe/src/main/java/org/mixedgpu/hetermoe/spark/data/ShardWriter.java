package org.mixedgpu.hetermoe.spark.data;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.zip.CRC32C;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.NewFile;

/** Writes one shard; the format is in the package's description. The caller closes the file. */
final class ShardWriter {
  static final byte[] MAGIC = "MGTOKENS".getBytes(StandardCharsets.US_ASCII);
  static final byte[] END_MAGIC = "MGTE".getBytes(StandardCharsets.US_ASCII);
  static final int VERSION = 1;
  static final int HEADER_BYTES = 16;
  static final int TRAILER_BYTES = 16;

  /** 16 KiB: one small read for a sequence, and CRCs cost 1/4096 of the tokens. */
  static final int BLOCK_TOKENS = 4096;

  private final NewFile file;
  private final ByteBuffer block =
      ByteBuffer.allocate(BLOCK_TOKENS * Integer.BYTES).order(ByteOrder.LITTLE_ENDIAN);
  private ByteBuffer sums = ByteBuffer.allocate(1024).order(ByteOrder.LITTLE_ENDIAN);
  private long tokens;

  ShardWriter(NewFile file) {
    this.file = file;
    ByteBuffer header = ByteBuffer.allocate(HEADER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    header.put(MAGIC).putInt(VERSION).putInt(BLOCK_TOKENS);
    // The last sum covers the header too: see publish.
    sums.put(header.flip());
    file.write(header.rewind());
  }

  void append(int token) {
    block.putInt(token);
    tokens++;
    if (!block.hasRemaining()) {
      flush();
    }
  }

  long tokens() {
    return tokens;
  }

  /**
   * Ends and publishes the shard. Where another attempt of the same task was first, its file is the
   * same, and stays.
   */
  void publish() {
    flush();
    ByteBuffer end =
        ByteBuffer.allocate(sums.position() + TRAILER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    end.put(sums.flip()).putLong(tokens);
    // Over header, table and count: a shifted table or another block size can't pass.
    end.putInt(sum(end.array(), end.position())).put(END_MAGIC);
    file.write(end.flip().position(HEADER_BYTES));
    long expected = tokens * Integer.BYTES + end.capacity();
    Check.that(
        file.position() == expected,
        "%s has %d bytes, not %d",
        file.path(),
        file.position(),
        expected);
    file.publish();
  }

  private void flush() {
    if (block.position() == 0) {
      return;
    }
    if (!sums.hasRemaining()) {
      ByteBuffer larger = ByteBuffer.allocate(sums.capacity() * 2).order(ByteOrder.LITTLE_ENDIAN);
      sums = larger.put(sums.flip());
    }
    sums.putInt(sum(block.array(), block.position()));
    file.write(block.flip());
    block.clear();
  }

  static int sum(byte[] bytes, int count) {
    CRC32C sum = new CRC32C();
    sum.update(bytes, 0, count);
    return (int) sum.getValue();
  }
}

package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32C;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.io.RangeReader;

/**
 * The index at the end of a bundle, as FORMAT.md specifies it: what each message holds and where.
 * It stands between Arrow's end-of-stream mark and Arrow's footer, where readers of Arrow files
 * don't look. Numbers from a file are checked against the file's size and each other before use.
 *
 * @param root key of the empty prefix of the layout
 * @param description {@link KvLayout#describe} of the layout, for people
 * @param chunkTokens tokens of each chunk
 * @param chunkBytes payload bytes of each chunk
 * @param headBytes bytes before the first message
 * @param headCrc CRC-32C of these
 * @param chunks in file order
 */
record BundleIndex(
    PrefixKey root,
    String description,
    int chunkTokens,
    int chunkBytes,
    int headBytes,
    int headCrc,
    List<StoredChunk> chunks) {
  static final int VERSION = 1;
  static final byte[] MAGIC = ascii("CAKEIDX1");
  static final byte[] ARROW_MAGIC = ascii("ARROW1");

  /** End of stream for readers that read an Arrow file from its front. */
  static final long END_OF_STREAM = 0x0000_0000_ffff_ffffL;

  static final int TRAILER_BYTES = Integer.BYTES + Integer.BYTES + MAGIC.length;
  static final int ARROW_TAIL_BYTES = Integer.BYTES + ARROW_MAGIC.length;

  /** An index of a gigabyte-sized bundle of small chunks has a few MiB. */
  private static final int MAX_INDEX_BYTES = 64 << 20;

  private static final int LAST_BYTES = 64 << 10;
  private static final int MAX_DESCRIPTION_BYTES = 64 << 10;
  private static final int FIXED_BYTES = 8 + 6 * Integer.BYTES + PrefixKey.BYTES + Integer.BYTES;
  private static final int ENTRY_BYTES = 2 * PrefixKey.BYTES + Long.BYTES + 3 * Integer.BYTES;

  /** Bytes of a message beside its payload and tokens: Arrow's metadata, keys and padding. */
  static int maxMessageBytes(int chunkTokens, int chunkBytes) {
    return Math.addExact(chunkBytes, 4096 + Math.multiplyExact(Integer.BYTES, chunkTokens));
  }

  /** The index with its trailer, a multiple of 8 bytes; then comes Arrow's footer. */
  ByteBuffer encode(byte[] arrowTail) {
    byte[] text = description.getBytes(StandardCharsets.UTF_8);
    long entries = (long) chunks.size() * (ENTRY_BYTES + (long) Integer.BYTES * chunkTokens);
    long size = (FIXED_BYTES + text.length + entries + 7) / 8 * 8;
    Check.input(
        size <= MAX_INDEX_BYTES,
        "A bundle of %d chunks of %d tokens needs an index of %d bytes, at most %d are possible;"
            + " lower bundleBytes",
        chunks.size(),
        chunkTokens,
        size,
        MAX_INDEX_BYTES);
    int indexBytes = Math.toIntExact(size);
    ByteBuffer out = ByteBuffer.allocate(indexBytes + TRAILER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    out.putLong(END_OF_STREAM).putInt(VERSION);
    out.put(root.toBytes()).putInt(chunkTokens).putInt(chunkBytes);
    out.putInt(headBytes).putInt(headCrc);
    out.putInt(text.length).put(text).putInt(chunks.size());
    for (StoredChunk chunk : chunks) {
      out.put(chunk.key().toBytes()).put(chunk.parent().toBytes());
      out.putLong(chunk.offset()).putInt(chunk.length());
      out.putInt(chunk.payloadOffset()).putInt(chunk.crc());
      for (int token : chunk.tokens()) {
        out.putInt(token);
      }
    }
    out.position(indexBytes + Integer.BYTES);
    out.putInt(indexBytes).put(MAGIC).flip();
    out.putInt(indexBytes, tailCrc(out, indexBytes, ByteBuffer.wrap(arrowTail)));
    return out;
  }

  /** Reads and checks the index of a file; {@code CORRUPT} with the reason if it can't be used. */
  static BundleIndex read(RangeReader file) {
    long size = file.size();
    String path = file.path();
    Check.intact(
        size >= FIXED_BYTES + TRAILER_BYTES + ARROW_TAIL_BYTES,
        "%s has %d bytes: too short for a bundle",
        path,
        size);
    // One read for most bundles; what a larger index needs beyond it is read then.
    ByteBuffer last =
        readFile(file, size - Math.min(size, LAST_BYTES), (int) Math.min(size, LAST_BYTES));
    ByteBuffer end = read(file, last, size - ARROW_TAIL_BYTES, ARROW_TAIL_BYTES);
    long footerBytes = end.getInt();
    long footerAt = size - ARROW_TAIL_BYTES - footerBytes;
    Check.intact(
        footerBytes > 0
            && footerBytes <= MAX_INDEX_BYTES
            && footerAt - TRAILER_BYTES >= FIXED_BYTES
            && end.equals(ByteBuffer.wrap(ARROW_MAGIC)),
        "%s does not end as an Arrow file: cut off, or no bundle",
        path);
    ByteBuffer trailer = read(file, last, footerAt - TRAILER_BYTES, TRAILER_BYTES);
    int crc = trailer.getInt();
    long indexBytes = trailer.getInt();
    long indexAt = footerAt - TRAILER_BYTES - indexBytes;
    Check.intact(
        indexBytes >= FIXED_BYTES
            && indexBytes <= MAX_INDEX_BYTES
            && indexAt >= 0
            && trailer.equals(ByteBuffer.wrap(MAGIC)),
        "%s has no index before its Arrow footer",
        path);
    ByteBuffer index = read(file, last, indexAt, (int) indexBytes + TRAILER_BYTES);
    ByteBuffer tail = read(file, last, footerAt, (int) footerBytes + ARROW_TAIL_BYTES);
    Check.intact(
        tailCrc(index, (int) indexBytes, tail) == crc,
        "%s: the checksum of the index does not match",
        path);
    return decode(path, index.limit((int) indexBytes), indexAt);
  }

  private static BundleIndex decode(String path, ByteBuffer in, long indexAt) {
    Check.intact(in.getLong() == END_OF_STREAM, "%s: the index does not start as one", path);
    int version = in.getInt();
    Check.intact(
        version == VERSION, "%s has format version %d; %d is known", path, version, VERSION);
    PrefixKey root = key(in);
    int chunkTokens = in.getInt();
    int chunkBytes = in.getInt();
    int headBytes = in.getInt();
    int headCrc = in.getInt();
    int textBytes = in.getInt();
    Check.intact(
        chunkTokens > 0
            && chunkTokens <= MAX_INDEX_BYTES / Integer.BYTES
            && chunkBytes > 0
            && chunkBytes <= KvLayout.MAX_CHUNK_BYTES
            && headBytes >= 0
            && headBytes <= indexAt
            && textBytes >= 0
            && textBytes <= MAX_DESCRIPTION_BYTES
            && textBytes <= in.remaining() - Integer.BYTES,
        "%s: the index has impossible sizes",
        path);
    byte[] text = new byte[textBytes];
    in.get(text);
    long count = in.getInt();
    long entryBytes = ENTRY_BYTES + (long) Integer.BYTES * chunkTokens;
    long left = in.remaining() - count * entryBytes;
    Check.intact(
        count >= 0 && left >= 0 && left < 8, "%s: the index has not %d entries", path, count);
    List<StoredChunk> chunks = new ArrayList<>((int) count);
    long next = headBytes;
    for (int i = 0; i < count; i++) {
      StoredChunk chunk = entry(path, in, chunkTokens);
      Check.intact(
          chunk.offset() == next
              && chunk.payloadOffset() >= 0
              && chunk.length() <= maxMessageBytes(chunkTokens, chunkBytes)
              && chunk.payloadOffset() <= chunk.length() - chunkBytes
              && next + chunk.length() <= indexAt,
          "%s: entry %d of the index lies outside its file",
          path,
          i);
      Check.intact(
          chunk.parent().child(chunk.tokens(), 0, chunkTokens).equals(chunk.key()),
          "%s: key and tokens of entry %d don't belong together",
          path,
          i);
      next += chunk.length();
      chunks.add(chunk);
    }
    Check.intact(next == indexAt, "%s has bytes that its index does not know", path);
    return new BundleIndex(
        root,
        new String(text, StandardCharsets.UTF_8),
        chunkTokens,
        chunkBytes,
        headBytes,
        headCrc,
        List.copyOf(chunks));
  }

  private static StoredChunk entry(String path, ByteBuffer in, int chunkTokens) {
    PrefixKey key = key(in);
    PrefixKey parent = key(in);
    long offset = in.getLong();
    int length = in.getInt();
    int payloadOffset = in.getInt();
    int crc = in.getInt();
    int[] tokens = new int[chunkTokens];
    in.asIntBuffer().get(tokens);
    in.position(in.position() + chunkTokens * Integer.BYTES);
    return new StoredChunk(path, key, parent, tokens, offset, length, payloadOffset, crc);
  }

  private static PrefixKey key(ByteBuffer in) {
    byte[] bytes = new byte[PrefixKey.BYTES];
    in.get(bytes);
    return PrefixKey.of(bytes);
  }

  /** CRC-32C of the index, the trailer after its CRC, and all that follows. */
  private static int tailCrc(ByteBuffer indexAndTrailer, int indexBytes, ByteBuffer arrowTail) {
    CRC32C crc = new CRC32C();
    crc.update(indexAndTrailer.duplicate().position(0).limit(indexBytes));
    crc.update(
        indexAndTrailer
            .duplicate()
            .position(indexBytes + Integer.BYTES)
            .limit(indexBytes + TRAILER_BYTES));
    crc.update(arrowTail.duplicate());
    return (int) crc.getValue();
  }

  /** Bytes of the file, from its last ones if they are among these. */
  private static ByteBuffer read(RangeReader file, ByteBuffer last, long position, int bytes) {
    long inLast = position - (file.size() - last.capacity());
    return inLast >= 0
        ? last.slice((int) inLast, bytes).order(ByteOrder.LITTLE_ENDIAN)
        : readFile(file, position, bytes);
  }

  private static ByteBuffer readFile(RangeReader file, long position, int bytes) {
    ByteBuffer buffer = ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    file.readFully(position, buffer);
    return buffer.flip();
  }

  private static byte[] ascii(String text) {
    return text.getBytes(StandardCharsets.US_ASCII);
  }
}

package org.mixedgpu.cake.store;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.WritableByteChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.zip.CRC32C;
import org.apache.arrow.memory.ArrowBuf;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.ipc.WriteChannel;
import org.apache.arrow.vector.ipc.message.ArrowBlock;
import org.apache.arrow.vector.ipc.message.ArrowBuffer;
import org.apache.arrow.vector.ipc.message.ArrowFieldNode;
import org.apache.arrow.vector.ipc.message.ArrowFooter;
import org.apache.arrow.vector.ipc.message.ArrowRecordBatch;
import org.apache.arrow.vector.ipc.message.MessageSerializer;
import org.apache.arrow.vector.types.pojo.ArrowType;
import org.apache.arrow.vector.types.pojo.Field;
import org.apache.arrow.vector.types.pojo.FieldType;
import org.apache.arrow.vector.types.pojo.Schema;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.io.NewFile;

/**
 * Writes one bundle: an Arrow IPC file with one record batch per chunk, one row each, then the
 * index. Holds one chunk's bytes of memory. Same chunks in the same order: same file. One thread.
 */
final class BundleWriter implements AutoCloseable {
  private final KvLayout layout;
  private final NewFile file;
  private final Schema schema;
  private final BufferAllocator allocator;
  private final ArrowBuf key;
  private final ArrowBuf parent;
  private final ArrowBuf tokens;
  private final ArrowBuf payload;
  private final Sums sums;
  private final WriteChannel out;
  private final List<ArrowBlock> blocks = new ArrayList<>();
  private final List<StoredChunk> chunks = new ArrayList<>();
  private final int headBytes;
  private final int headCrc;

  /** Takes over the file: closing this closes it. */
  BundleWriter(KvLayout layout, NewFile file) {
    this.layout = layout;
    this.file = file;
    schema = schema(layout);
    // Buffers are rounded up to powers of two, hence the factor.
    allocator = new RootAllocator(2L * layout.chunkBytes() + 8L * layout.chunkTokens() + (1 << 16));
    try {
      key = allocator.buffer(PrefixKey.BYTES);
      parent = allocator.buffer(PrefixKey.BYTES);
      tokens = allocator.buffer((long) layout.chunkTokens() * Integer.BYTES);
      payload = allocator.buffer(layout.chunkBytes());
      sums = new Sums(file);
      out = new WriteChannel(sums);
      writing(
          () -> {
            out.write(BundleIndex.ARROW_MAGIC);
            out.align();
            MessageSerializer.serialize(out, schema);
            out.align();
          });
    } catch (RuntimeException e) {
      close();
      throw e;
    }
    headBytes = Math.toIntExact(out.getCurrentPosition());
    headCrc = sums.take();
  }

  static Schema schema(KvLayout layout) {
    ArrowType keyType = new ArrowType.FixedSizeBinary(PrefixKey.BYTES);
    Field token =
        new Field("item", FieldType.notNullable(new ArrowType.Int(Integer.SIZE, true)), null);
    return new Schema(
        List.of(
            new Field("key", FieldType.notNullable(keyType), null),
            new Field("parent", FieldType.notNullable(keyType), null),
            new Field(
                "tokens",
                FieldType.notNullable(new ArrowType.FixedSizeList(layout.chunkTokens())),
                List.of(token)),
            new Field(
                "kv",
                FieldType.notNullable(new ArrowType.FixedSizeBinary(layout.chunkBytes())),
                null)));
  }

  void append(PrefixKey ofKey, PrefixKey ofParent, int[] ofTokens, Consumer<ByteBuffer> ofPayload) {
    key.clear().writeBytes(ofKey.toBytes());
    parent.clear().writeBytes(ofParent.toBytes());
    tokens.clear();
    for (int token : ofTokens) {
      tokens.writeInt(token);
    }
    ByteBuffer bytes = payload.nioBuffer(0, layout.chunkBytes()).order(ByteOrder.LITTLE_ENDIAN);
    ofPayload.accept(bytes);
    payload.clear().writerIndex(layout.chunkBytes());

    long offset = out.getCurrentPosition();
    int[] payloadOffset = new int[1];
    writing(
        () -> {
          try (ArrowRecordBatch batch = batch()) {
            ArrowBlock block = MessageSerializer.serialize(out, batch);
            List<ArrowBuffer> buffers = batch.getBuffersLayout();
            payloadOffset[0] =
                Math.toIntExact(
                    block.getMetadataLength() + buffers.get(buffers.size() - 1).getOffset());
            blocks.add(block);
          }
        });
    int length = Math.toIntExact(out.getCurrentPosition() - offset);
    chunks.add(
        new StoredChunk(
            file.path(),
            ofKey,
            ofParent,
            ofTokens.clone(),
            offset,
            length,
            payloadOffset[0],
            sums.take()));
  }

  /** Columns in the schema's order; an empty validity buffer says that no value is null. */
  private ArrowRecordBatch batch() {
    ArrowFieldNode one = new ArrowFieldNode(1, 0);
    ArrowFieldNode items = new ArrowFieldNode(layout.chunkTokens(), 0);
    ArrowBuf valid = allocator.getEmpty();
    return new ArrowRecordBatch(
        1,
        List.of(one, one, one, items, one),
        List.of(valid, key, valid, parent, valid, valid, tokens, valid, payload));
  }

  long bytes() {
    return out.getCurrentPosition();
  }

  /** Writes index and footer and publishes; false if a file of this name was there before. */
  boolean publish() {
    byte[] tail = arrowTail();
    BundleIndex index =
        new BundleIndex(
            PrefixKey.root(layout),
            layout.describe(),
            layout.chunkTokens(),
            layout.chunkBytes(),
            headBytes,
            headCrc,
            chunks);
    ByteBuffer encoded = index.encode(tail);
    writing(
        () -> {
          out.write(encoded);
          out.write(tail);
        });
    return file.publish();
  }

  private byte[] arrowTail() {
    ByteBuffer footer = WriteChannel.serialize(new ArrowFooter(schema, List.of(), blocks));
    return ByteBuffer.allocate(footer.remaining() + BundleIndex.ARROW_TAIL_BYTES)
        .order(ByteOrder.LITTLE_ENDIAN)
        .put(footer.duplicate())
        .putInt(footer.remaining())
        .put(BundleIndex.ARROW_MAGIC)
        .array();
  }

  @Override
  public void close() {
    // Null where the constructor failed half-way.
    for (ArrowBuf buffer : new ArrowBuf[] {key, parent, tokens, payload}) {
      if (buffer != null) {
        buffer.close();
      }
    }
    try (file) {
      allocator.close();
    }
  }

  private interface Writing {
    void run() throws IOException;
  }

  private void writing(Writing work) {
    try {
      work.run();
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.EXHAUSTED, "Cannot write bundle " + file.path() + ": " + e.getMessage(), e);
    }
  }

  /** Passes bytes on and sums them. */
  private static final class Sums implements WritableByteChannel {
    private final WritableByteChannel to;
    private final CRC32C crc = new CRC32C();

    Sums(WritableByteChannel to) {
      this.to = to;
    }

    /** The CRC since the last call. */
    int take() {
      int value = (int) crc.getValue();
      crc.reset();
      return value;
    }

    @Override
    public int write(ByteBuffer from) throws IOException {
      crc.update(from.duplicate());
      int bytes = from.remaining();
      while (from.hasRemaining()) {
        to.write(from);
      }
      return bytes;
    }

    @Override
    public boolean isOpen() {
      return to.isOpen();
    }

    @Override
    public void close() {}
  }
}

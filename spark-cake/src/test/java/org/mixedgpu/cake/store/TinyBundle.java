package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;
import org.mixedgpu.cake.key.KvLayout;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.tensor.DType;

/** The two-chunk bundle that FORMAT.md shows. */
final class TinyBundle {
  static final KvLayout LAYOUT =
      new KvLayout("0123456789abcdef".repeat(4), 1, 1, 1, DType.F32, "theta=10000", 2);
  static final int[] PROMPT = {11, 12, 21, 22};
  static final PrefixKey[] KEYS = PrefixKey.chain(LAYOUT, PROMPT);

  private TinyBundle() {}

  /** Chunk i's payload: bytes 16·(i+1) and up. */
  static byte[] payload(int chunk) {
    byte[] bytes = new byte[LAYOUT.chunkBytes()];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) (16 * (chunk + 1) + i);
    }
    return bytes;
  }

  /** Writes both chunks, the last first. */
  static void write(KvStore store) {
    try (ChunkWriter writer = store.writer()) {
      append(writer, 1);
      append(writer, 0);
      writer.finish();
    }
  }

  static boolean append(ChunkWriter writer, int chunk) {
    PrefixKey parent = chunk == 0 ? PrefixKey.root(LAYOUT) : KEYS[chunk - 1];
    int[] tokens = {PROMPT[2 * chunk], PROMPT[2 * chunk + 1]};
    return writer.append(KEYS[chunk], parent, tokens, into -> into.put(payload(chunk)));
  }

  static ByteBuffer buffer(KvStore store) {
    return ByteBuffer.allocateDirect(store.bufferBytes());
  }

  static byte[] bytes(ByteBuffer buffer) {
    byte[] bytes = new byte[buffer.remaining()];
    buffer.duplicate().get(bytes);
    return bytes;
  }
}

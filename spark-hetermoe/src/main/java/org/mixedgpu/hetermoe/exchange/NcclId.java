package org.mixedgpu.hetermoe.exchange;

import java.nio.ByteBuffer;
import org.mixedgpu.base.Check;

/** The name of an NCCL group as the integers of a message's header. */
final class NcclId {
  private static final int WORDS = 32;

  private NcclId() {}

  static int[] encode(byte[] id) {
    Check.that(id.length == WORDS * Integer.BYTES, "An NCCL id has %d bytes", id.length);
    int[] words = new int[WORDS];
    ByteBuffer.wrap(id).asIntBuffer().get(words);
    return words;
  }

  static byte[] decode(int[] words) {
    Check.that(words.length == WORDS, "An NCCL id came as %d words", words.length);
    ByteBuffer bytes = ByteBuffer.allocate(WORDS * Integer.BYTES);
    bytes.asIntBuffer().put(words);
    return bytes.array();
  }
}

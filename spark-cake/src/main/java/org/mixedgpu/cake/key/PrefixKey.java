package org.mixedgpu.cake.key;

import java.io.Serializable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Names a prefix of a prompt under one {@link KvLayout}: SHA-256 over the key of the prefix before
 * and the token ids of its last chunk. FORMAT.md specifies the bytes. A key only proposes: whoever
 * finds a chunk by its key compares the token ids stored with it.
 */
public final class PrefixKey implements Comparable<PrefixKey>, Serializable {
  private static final long serialVersionUID = 1L;

  /** Bytes of a key. */
  public static final int BYTES = 32;

  /** Goes into every hash; a change of meaning of any stored bit raises it. */
  public static final int VERSION = 1;

  // Different first words, so that no field of a root can be read as a child or the reverse.
  private static final int ROOT = 0x544f4f52; // "ROOT" in file order
  private static final int CHUNK = 0x4b4e4843; // "CHNK"

  private final byte[] bytes;

  private PrefixKey(byte[] bytes) {
    this.bytes = bytes;
  }

  /** The key of the empty prefix: all that follows from the model, nothing from a prompt. */
  public static PrefixKey root(KvLayout layout) {
    byte[] weights = layout.weightsDigest().getBytes(StandardCharsets.US_ASCII);
    byte[] type = layout.type().name().getBytes(StandardCharsets.US_ASCII);
    byte[] rope = layout.rope().getBytes(StandardCharsets.UTF_8);
    ByteBuffer text = littleEndian(9 * Integer.BYTES + weights.length + type.length + rope.length);
    text.putInt(ROOT).putInt(VERSION);
    text.putInt(weights.length).put(weights);
    text.putInt(layout.layers()).putInt(layout.kvHeads()).putInt(layout.headDim());
    text.putInt(type.length).put(type);
    text.putInt(rope.length).put(rope);
    text.putInt(layout.chunkTokens());
    return new PrefixKey(sha256(text));
  }

  /** The key of this prefix followed by {@code count} tokens from {@code first}. */
  public PrefixKey child(int[] tokens, int first, int count) {
    Check.input(
        first >= 0 && count > 0 && count <= tokens.length - first,
        "Tokens [%d,+%d) are not inside a prompt of %d tokens",
        first,
        count,
        tokens.length);
    ByteBuffer text = littleEndian(BYTES + (3 + count) * Integer.BYTES);
    text.putInt(CHUNK).putInt(VERSION).put(bytes).putInt(count);
    text.asIntBuffer().put(tokens, first, count);
    text.position(text.capacity());
    return new PrefixKey(sha256(text));
  }

  /** The keys of all whole chunks of a prompt, the first chunk's first. */
  public static PrefixKey[] chain(KvLayout layout, int[] tokens) {
    int chunk = layout.chunkTokens();
    PrefixKey[] keys = new PrefixKey[tokens.length / chunk];
    PrefixKey parent = keys.length == 0 ? null : root(layout);
    for (int i = 0; i < keys.length; i++) {
      keys[i] = parent.child(tokens, i * chunk, chunk);
      parent = keys[i];
    }
    return keys;
  }

  /** The key with these {@value #BYTES} bytes. */
  public static PrefixKey of(byte[] bytes) {
    Check.input(bytes.length == BYTES, "A key has %d bytes; found %d", BYTES, bytes.length);
    return new PrefixKey(bytes.clone());
  }

  public byte[] toBytes() {
    return bytes.clone();
  }

  public String hex() {
    return HexFormat.of().formatHex(bytes);
  }

  /** The first 64 bits: enough to plan with, where a collision costs balance and no answer. */
  public long word() {
    return ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
  }

  @Override
  public int compareTo(PrefixKey other) {
    return Arrays.compareUnsigned(bytes, other.bytes);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof PrefixKey && Arrays.equals(bytes, ((PrefixKey) other).bytes);
  }

  @Override
  public int hashCode() {
    return ByteBuffer.wrap(bytes).getInt();
  }

  @Override
  public String toString() {
    return hex().substring(0, 12);
  }

  private static ByteBuffer littleEndian(int size) {
    return ByteBuffer.allocate(size).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static byte[] sha256(ByteBuffer text) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(text.array());
    } catch (NoSuchAlgorithmException e) {
      throw new MixedGpuException(Fault.MISSING, "This JVM has no SHA-256", e);
    }
  }
}

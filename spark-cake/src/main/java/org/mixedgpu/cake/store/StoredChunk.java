package org.mixedgpu.cake.store;

import java.io.Serializable;
import java.util.Arrays;
import org.mixedgpu.cake.key.PrefixKey;

/**
 * Where one chunk lies, as its bundle's index says. Treat the token array as read-only.
 *
 * @param bundle path of the file
 * @param key of the prefix that ends with this chunk
 * @param parent key of the prefix before it
 * @param tokens the chunk's token ids: they decide whether it is the one looked for
 * @param offset first byte of the chunk's Arrow message in the file
 * @param length bytes of the message
 * @param payloadOffset first byte of the KV payload in the message
 * @param crc CRC-32C of the message
 */
public record StoredChunk(
    String bundle,
    PrefixKey key,
    PrefixKey parent,
    int[] tokens,
    long offset,
    int length,
    int payloadOffset,
    int crc)
    implements Serializable {
  private static final long serialVersionUID = 1L;

  /** Whether this is the chunk of these tokens after that prefix. */
  public boolean holds(PrefixKey ofKey, PrefixKey ofParent, int[] prompt, int first) {
    return key.equals(ofKey)
        && parent.equals(ofParent)
        && prompt.length - first >= tokens.length
        && Arrays.equals(tokens, 0, tokens.length, prompt, first, first + tokens.length);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof StoredChunk o
        && bundle.equals(o.bundle)
        && key.equals(o.key)
        && parent.equals(o.parent)
        && Arrays.equals(tokens, o.tokens)
        && offset == o.offset
        && length == o.length
        && payloadOffset == o.payloadOffset
        && crc == o.crc;
  }

  @Override
  public int hashCode() {
    return key.hashCode();
  }
}

package org.mixedgpu.cake.key;

import java.io.Serializable;
import java.util.Locale;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;

/**
 * All that decides which bits a model's KV cache has, and how they lie in a stored chunk. Two
 * layouts that differ in any field have different root keys, so that no chunk of one is ever found
 * under the other.
 *
 * <p>A chunk's payload is, for each layer in order, its keys (after RoPE) and then its values, each
 * {@code [chunkTokens, kvHeads·headDim]}, row-major, little-endian.
 *
 * @param weightsDigest lower-case hexadecimal SHA-256 of the model's weights and configuration
 * @param layers decoder layers
 * @param kvHeads heads of K and V
 * @param headDim elements of one head
 * @param type element type as stored
 * @param rope RoPE parameters as text; any difference is another cache
 * @param chunkTokens tokens of one chunk: the grid of keys, of loads and of computation
 */
public record KvLayout(
    String weightsDigest,
    int layers,
    int kvHeads,
    int headDim,
    DType type,
    String rope,
    int chunkTokens)
    implements Serializable {
  private static final long serialVersionUID = 1L;

  /** One chunk is one buffer and one column value of a bundle. */
  public static final long MAX_CHUNK_BYTES = 1L << 30;

  public KvLayout {
    Check.input(
        weightsDigest != null && weightsDigest.matches("[0-9a-f]{64}"),
        "The weights digest must be 64 hexadecimal digits; found '%s'",
        weightsDigest);
    Check.input(
        layers > 0 && kvHeads > 0 && headDim > 0 && chunkTokens > 0,
        "A KV layout needs positive sizes; found %s layers, %s KV heads, head size %s, %s tokens"
            + " per chunk",
        layers,
        kvHeads,
        headDim,
        chunkTokens);
    Check.input(rope != null, "A KV layout needs its RoPE parameters as text");
    Check.input(
        bytes(layers, kvHeads, headDim, type, chunkTokens) <= MAX_CHUNK_BYTES,
        "A chunk of %d tokens has %.0f bytes, at most %d are possible; use fewer tokens per chunk",
        chunkTokens,
        bytes(layers, kvHeads, headDim, type, chunkTokens),
        MAX_CHUNK_BYTES);
  }

  /** Bytes of one chunk's payload, at most {@link #MAX_CHUNK_BYTES}. */
  public int chunkBytes() {
    return Math.toIntExact(2L * layers * blockBytes());
  }

  /** Bytes of one layer's keys, or values, in a chunk. */
  public int blockBytes() {
    return chunkTokens * rowBytes();
  }

  /** Bytes of one token's key, or value, in one layer. */
  public int rowBytes() {
    return kvHeads * headDim * type.bytes();
  }

  /** One line for people and for the bundle's index. */
  public String describe() {
    return String.format(
        Locale.ROOT,
        "weights=%s layers=%d kvHeads=%d headDim=%d type=%s rope=%s chunkTokens=%d",
        weightsDigest,
        layers,
        kvHeads,
        headDim,
        type,
        rope,
        chunkTokens);
  }

  private static double bytes(int layers, int kvHeads, int headDim, DType type, int tokens) {
    return 2.0 * layers * kvHeads * headDim * type.bytes() * tokens;
  }
}

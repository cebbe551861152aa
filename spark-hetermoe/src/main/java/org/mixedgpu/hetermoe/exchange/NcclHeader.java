package org.mixedgpu.hetermoe.exchange;

import java.util.Arrays;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/**
 * What precedes a message's rows on the host's exchange: NCCL wants to know beforehand how much
 * comes.
 *
 * @param header the sender's integers
 */
record NcclHeader(DType type, long rows, long rowElements, int[] header) {
  private static final int FIELDS = 5;
  private static final DType[] TYPES = DType.values();

  static NcclHeader of(int[] header, Tensor rows) {
    return new NcclHeader(
        rows.type(), rows.shape().rows(), rows.shape().rowElements(), header.clone());
  }

  int[] encode() {
    int[] words = Arrays.copyOf(new int[] {type.ordinal()}, FIELDS + header.length);
    words[1] = (int) (rows >>> 32);
    words[2] = (int) rows;
    words[3] = (int) (rowElements >>> 32);
    words[4] = (int) rowElements;
    System.arraycopy(header, 0, words, FIELDS, header.length);
    return words;
  }

  static NcclHeader decode(int[] words) {
    Check.that(
        words.length >= FIELDS && words[0] >= 0 && words[0] < TYPES.length,
        "A message's rows were announced with %d words, the first %d",
        words.length,
        words.length == 0 ? -1 : words[0]);
    return new NcclHeader(
        TYPES[words[0]],
        wide(words[1], words[2]),
        wide(words[3], words[4]),
        Arrays.copyOfRange(words, FIELDS, words.length));
  }

  /** Whether the message's rows fit into the first rows of a tensor. */
  boolean fits(Tensor into) {
    return type == into.type()
        && rowElements == into.shape().rowElements()
        && rows <= into.shape().rows();
  }

  private static long wide(int high, int low) {
    return (long) high << 32 | (low & 0xFFFFFFFFL);
  }
}

package org.mixedgpu.hetermoe.spark.data;

import java.io.Serializable;
import java.util.List;
import org.mixedgpu.base.Check;

/**
 * Where packed tokens lie. The shards in order are one long sequence of ids, each document followed
 * by its end; sequence i is tokens [i·length, (i+1)·length) of it, and what does not fill a
 * sequence at the end is left out. So the packing depends on the order of rows only, not on how
 * they were partitioned.
 *
 * @param shards in order
 * @param sequenceLength tokens per sequence
 */
public record TokenCorpus(List<Shard> shards, int sequenceLength) implements Serializable {
  /**
   * @param path of the file
   * @param tokens in it
   */
  public record Shard(String path, long tokens) implements Serializable {}

  public TokenCorpus {
    shards = List.copyOf(shards);
    Check.input(
        sequenceLength >= 2,
        "Sequences need 2 tokens or more, one to see and one to predict; found %d",
        sequenceLength);
  }

  public long tokens() {
    return shards.stream().mapToLong(Shard::tokens).sum();
  }

  public long sequences() {
    return tokens() / sequenceLength;
  }
}

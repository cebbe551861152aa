package org.mixedgpu.hetermoe.spark.data;

import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileStore;

/**
 * Reads sequences of a corpus, only the blocks that hold them, and keeps the last {@link
 * #CACHED_BLOCKS} blocks (4 MiB). One thread at a time; the caller closes it.
 */
public final class CorpusReader implements AutoCloseable {
  private static final int CACHED_BLOCKS = 256;

  private record BlockKey(int shard, int block) {}

  private final FileStore store;
  private final TokenCorpus corpus;
  private final ShardReader[] readers;
  private final long[] starts;
  private final Map<BlockKey, int[]> cache =
      new LinkedHashMap<>(16, 0.75f, true /* by access */) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<BlockKey, int[]> eldest) {
          return size() > CACHED_BLOCKS;
        }
      };

  public CorpusReader(FileStore store, TokenCorpus corpus) {
    this.store = store;
    this.corpus = corpus;
    readers = new ShardReader[corpus.shards().size()];
    starts = new long[readers.length + 1];
    for (int s = 0; s < readers.length; s++) {
      starts[s + 1] = starts[s] + corpus.shards().get(s).tokens();
    }
  }

  /** The token ids of one sequence. */
  public int[] sequence(long index) {
    Check.input(
        index >= 0 && index < corpus.sequences(),
        "Sequence %d is not among the corpus's %d",
        index,
        corpus.sequences());
    int[] sequence = new int[corpus.sequenceLength()];
    long at = index * sequence.length;
    int shard = 0;
    while (starts[shard + 1] <= at) {
      shard++;
    }
    for (int filled = 0; filled < sequence.length; ) {
      if (at == starts[shard + 1]) {
        shard++;
        continue;
      }
      ShardReader reader = reader(shard);
      long within = at - starts[shard];
      int block = (int) (within / reader.blockTokens());
      int first = (int) (within % reader.blockTokens());
      int[] tokens = cache.computeIfAbsent(new BlockKey(shard, block), k -> reader.block(block));
      int count = Math.min(sequence.length - filled, tokens.length - first);
      System.arraycopy(tokens, first, sequence, filled, count);
      filled += count;
      at += count;
    }
    return sequence;
  }

  private ShardReader reader(int shard) {
    if (readers[shard] == null) {
      TokenCorpus.Shard expected = corpus.shards().get(shard);
      ShardReader reader = new ShardReader(store, expected.path());
      readers[shard] = reader;
      Check.intact(
          reader.tokens() == expected.tokens(),
          "Token shard %s has %d tokens; %d were written; write the shards again",
          expected.path(),
          reader.tokens(),
          expected.tokens());
    }
    return readers[shard];
  }

  @Override
  public void close() {
    for (ShardReader reader : readers) {
      if (reader != null) {
        reader.close();
      }
    }
  }
}

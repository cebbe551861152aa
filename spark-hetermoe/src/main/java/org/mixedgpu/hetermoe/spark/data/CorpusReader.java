package org.mixedgpu.hetermoe.spark.data;

import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileStore;

/**
 * Reads sequences of a corpus, only the blocks that hold them, and keeps the last {@link
 * #CACHED_BLOCKS} blocks (4 MiB) and the last {@link #OPEN_SHARDS} shards open. One thread at a
 * time; the caller closes it.
 */
public final class CorpusReader implements AutoCloseable {
  private static final int CACHED_BLOCKS = 256;

  /** A shuffled corpus soon asks for all of its shards, which may be thousands of open files. */
  private static final int OPEN_SHARDS = 64;

  private record BlockKey(int shard, int block) {}

  private final FileStore store;
  private final TokenCorpus corpus;
  private final long[] starts;

  /** What is known of each shard; null before it was first opened. */
  private final ShardReader[] shards;

  private final Map<Integer, ShardReader> open =
      new LinkedHashMap<>(16, 0.75f, true /* by access */) {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Integer, ShardReader> eldest) {
          if (size() <= OPEN_SHARDS) {
            return false;
          }
          eldest.getValue().close();
          return true;
        }
      };

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
    shards = new ShardReader[corpus.shards().size()];
    starts = new long[shards.length + 1];
    for (int s = 0; s < shards.length; s++) {
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
      int size = known(shard).blockTokens();
      long within = at - starts[shard];
      BlockKey key = new BlockKey(shard, (int) (within / size));
      int first = (int) (within % size);
      int[] tokens = cache.computeIfAbsent(key, this::read);
      int count = Math.min(sequence.length - filled, tokens.length - first);
      System.arraycopy(tokens, first, sequence, filled, count);
      filled += count;
      at += count;
    }
    return sequence;
  }

  private int[] read(BlockKey key) {
    ShardReader reader = known(key.shard());
    open.put(key.shard(), reader);
    return reader.block(key.block());
  }

  private ShardReader known(int shard) {
    if (shards[shard] == null) {
      TokenCorpus.Shard expected = corpus.shards().get(shard);
      ShardReader reader = new ShardReader(store, expected.path());
      open.put(shard, reader);
      Check.intact(
          reader.tokens() == expected.tokens(),
          "Token shard %s has %d tokens; %d were written; write the shards again",
          expected.path(),
          reader.tokens(),
          expected.tokens());
      shards[shard] = reader;
    }
    return shards[shard];
  }

  @Override
  public void close() {
    open.values().forEach(ShardReader::close);
  }
}

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

  /** Tokens of a block of each shard; 0 before it was first opened. */
  private final int[] blockTokens;

  private final Map<Integer, ShardReader> readers =
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
    int shards = corpus.shards().size();
    blockTokens = new int[shards];
    starts = new long[shards + 1];
    for (int s = 0; s < shards; s++) {
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
      // Without its reader, which a block that is here does not need.
      int size = blockTokens[shard] > 0 ? blockTokens[shard] : reader(shard).blockTokens();
      long within = at - starts[shard];
      BlockKey key = new BlockKey(shard, (int) (within / size));
      int first = (int) (within % size);
      int[] tokens = cache.computeIfAbsent(key, k -> reader(k.shard()).block(k.block()));
      int count = Math.min(sequence.length - filled, tokens.length - first);
      System.arraycopy(tokens, first, sequence, filled, count);
      filled += count;
      at += count;
    }
    return sequence;
  }

  private ShardReader reader(int shard) {
    ShardReader known = readers.get(shard);
    if (known != null) {
      return known;
    }
    TokenCorpus.Shard expected = corpus.shards().get(shard);
    ShardReader reader = new ShardReader(store, expected.path());
    readers.put(shard, reader);
    Check.intact(
        reader.tokens() == expected.tokens(),
        "Token shard %s has %d tokens; %d were written; write the shards again",
        expected.path(),
        reader.tokens(),
        expected.tokens());
    Check.intact(
        blockTokens[shard] == 0 || blockTokens[shard] == reader.blockTokens(),
        "Token shard %s has blocks of %d tokens and had blocks of %d when it was first opened;"
            + " write the shards again, and not while they are read",
        expected.path(),
        reader.blockTokens(),
        blockTokens[shard]);
    blockTokens[shard] = reader.blockTokens();
    return reader;
  }

  @Override
  public void close() {
    readers.values().forEach(ShardReader::close);
  }
}

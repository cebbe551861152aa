package org.mixedgpu.hetermoe.spark.data;

import org.mixedgpu.hetermoe.train.BatchSource;
import org.mixedgpu.io.FileStore;

/**
 * Batches of a corpus: sequence i of step s (from 1) is the one at position (s − 1)·batch + i of
 * the seeded order, which goes on with another permutation after each epoch. Reads only what it is
 * asked for. One thread at a time; the caller closes it.
 */
public final class CorpusBatches implements BatchSource, AutoCloseable {
  private final CorpusReader reader;
  private final SequenceOrder order;
  private final int batchSize;

  public CorpusBatches(FileStore store, TokenCorpus corpus, int batchSize, long seed) {
    this.reader = new CorpusReader(store, corpus);
    this.order = new SequenceOrder(corpus.sequences(), seed);
    this.batchSize = batchSize;
  }

  @Override
  public int[][] sequences(long step, int first, int count) {
    int[][] sequences = new int[count][];
    for (int i = 0; i < count; i++) {
      sequences[i] = reader.sequence(order.at((step - 1) * batchSize + first + i));
    }
    return sequences;
  }

  @Override
  public void close() {
    reader.close();
  }
}

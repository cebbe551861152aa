package org.mixedgpu.hetermoe.spark.data;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.mixedgpu.base.Check;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.nn.tokenizer.Tokenizer;

/**
 * Tokenizes a Dataset on the executors and writes one shard per partition.
 *
 * @param store that driver and executors share
 * @param folder new; the shards go there
 * @param tokenizer opened once per partition
 * @param vocabulary of the model
 * @param end id after each document; negative for none
 * @param sequenceLength tokens per sequence
 */
public record CorpusWriter(
    HadoopFileStore store,
    String folder,
    Encoder tokenizer,
    int vocabulary,
    int end,
    int sequenceLength)
    implements Serializable {

  /**
   * Opens a tokenizer where it is needed: tokenizers themselves don't travel. Whoever opens it
   * closes it. Null where the column holds ids.
   */
  public interface Encoder extends Serializable {
    Tokenizer open();
  }

  private record Part(int index, String path, long tokens, long rows, Map<String, Long> problems)
      implements Serializable {}

  /** Writes the shards; fails when they hold less than one sequence. */
  public PackReport write(Dataset<Row> data, String column) {
    List<Part> parts =
        data.select(data.col(column))
            .toJavaRDD()
            .mapPartitionsWithIndex(this::part, true)
            .collect();
    List<TokenCorpus.Shard> shards = new ArrayList<>();
    Map<String, Long> problems = new TreeMap<>();
    long rows = 0;
    for (Part part : parts) {
      shards.add(new TokenCorpus.Shard(part.path(), part.tokens()));
      part.problems().forEach((problem, count) -> problems.merge(problem, count, Long::sum));
      rows += part.rows();
    }
    TokenCorpus corpus = new TokenCorpus(shards, sequenceLength);
    PackReport report = new PackReport(corpus, rows, problems);
    Check.input(
        corpus.sequences() > 0,
        "Column %s has too little to train on: %s; give more rows or shorter sequences",
        column,
        report.summary());
    return report;
  }

  private Iterator<Part> part(int index, Iterator<Row> rows) {
    String path = FileStore.in(folder, String.format(Locale.ROOT, "part-%05d.tokens", index));
    Map<String, Long> problems = new TreeMap<>();
    long count = 0;
    try (Tokenizer opened = tokenizer.open();
        NewFile file = store.create(path)) {
      RowTokens reader = new RowTokens(opened, vocabulary);
      ShardWriter writer = new ShardWriter(file);
      while (rows.hasNext()) {
        count++;
        RowTokens.Result result = reader.of(rows.next().get(0));
        if (!result.problem().isEmpty()) {
          problems.merge(result.problem(), 1L, Long::sum);
          continue;
        }
        for (int id : result.ids()) {
          writer.append(id);
        }
        if (end >= 0) {
          writer.append(end);
        }
      }
      writer.publish();
      return List.of(new Part(index, path, writer.tokens(), count, problems)).iterator();
    }
  }
}

package org.mixedgpu.hetermoe.spark.data;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.nn.tokenizer.ByteTokenizer;

/**
 * Real text without Spark: what WordNet 3.1 says of its 13,000 verbs, in bytes, packed as a run
 * packs a column.
 */
public final class DictionaryCorpus {
  private static final String FILE = "/net/sf/extjwnl/data/wordnet/wn31/data.verb";
  private static final String SHARD = "/dictionary.tokens";

  private DictionaryCorpus() {}

  /**
   * @param vocabulary of the model: ids must be below
   */
  public static TokenCorpus write(FileStore store, int vocabulary, int sequenceLength) {
    RowTokens rows = new RowTokens(new ByteTokenizer(), vocabulary);
    try (BufferedReader lines =
            new BufferedReader(
                new InputStreamReader(
                    DictionaryCorpus.class.getResourceAsStream(FILE), StandardCharsets.UTF_8));
        NewFile file = store.create(SHARD)) {
      ShardWriter writer = new ShardWriter(file);
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        // Lines that start with a space are the licence; a gloss follows a bar.
        if (!line.startsWith(" ")) {
          for (int id : rows.of(line.substring(line.indexOf(" | ") + 3).strip()).ids()) {
            writer.append(id);
          }
          writer.append(ByteTokenizer.EOS);
        }
      }
      writer.publish();
      return new TokenCorpus(
          List.of(new TokenCorpus.Shard(SHARD, writer.tokens())), sequenceLength);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}

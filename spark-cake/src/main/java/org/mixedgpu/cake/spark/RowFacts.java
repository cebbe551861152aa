package org.mixedgpu.cake.spark;

import java.util.Iterator;
import org.apache.spark.TaskContext;
import org.apache.spark.api.java.function.FlatMapFunction;
import org.apache.spark.sql.Row;
import org.apache.spark.util.TaskCompletionListener;
import org.mixedgpu.cake.key.PrefixKey;
import org.mixedgpu.nn.tokenizer.Tokenizer;

/**
 * What the planner needs of each row, in the Dataset's order: an array with the number of tokens (0
 * for a bad row) and then the words of the prefixes of its whole chunks. 8 bytes per chunk go to
 * the driver.
 */
final class RowFacts implements FlatMapFunction<Iterator<Row>, long[]> {
  private static final long serialVersionUID = 1L;

  private final PrefillFacts facts;
  private final int column;

  RowFacts(PrefillFacts facts, int column) {
    this.facts = facts;
    this.column = column;
  }

  @Override
  public Iterator<long[]> call(Iterator<Row> rows) {
    Tokenizer tokenizer = facts.openTokenizer();
    if (tokenizer != null) {
      TaskContext.get()
          .addTaskCompletionListener((TaskCompletionListener) context -> tokenizer.close());
    }
    PromptReader reader = facts.reader(tokenizer);
    return new Iterator<>() {
      @Override
      public boolean hasNext() {
        return rows.hasNext();
      }

      @Override
      public long[] next() {
        return facts(reader.read(rows.next().get(column)));
      }
    };
  }

  private long[] facts(PromptReader.Prompt prompt) {
    if (prompt.ids() == null) {
      return new long[1];
    }
    PrefixKey[] keys = PrefixKey.chain(facts.layout(), prompt.ids());
    long[] words = new long[keys.length + 1];
    words[0] = prompt.ids().length;
    for (int i = 0; i < keys.length; i++) {
      words[i + 1] = keys[i].word();
    }
    return words;
  }
}

package org.mixedgpu.hetermoe.spark.data;

import java.util.List;
import java.util.Locale;
import org.mixedgpu.nn.tokenizer.Tokenizer;
import scala.jdk.javaapi.CollectionConverters;

/**
 * Token ids of one row, or why there are none. A row that can't be used is counted and left out; it
 * does not end a run over millions of others.
 */
public final class RowTokens {
  /**
   * @param ids empty where the row can't be used
   * @param problem empty where it can
   */
  public record Result(int[] ids, String problem) {
    static Result bad(String problem) {
      return new Result(new int[0], problem);
    }
  }

  private final Tokenizer tokenizer;
  private final int vocabulary;

  /**
   * @param tokenizer of texts; null where there are ids only
   * @param vocabulary ids must be below
   */
  public RowTokens(Tokenizer tokenizer, int vocabulary) {
    this.tokenizer = tokenizer;
    this.vocabulary = vocabulary;
  }

  /** Of a column's value that holds text or an array of int. */
  public Result of(Object cell) {
    if (cell == null) {
      return Result.bad("null");
    }
    int[] ids;
    if (cell instanceof String text) {
      if (text.isBlank()) {
        return Result.bad("empty text");
      }
      ids = tokenizer.encode(text);
    } else {
      List<?> list = CollectionConverters.asJava((scala.collection.Seq<?>) cell);
      ids = new int[list.size()];
      for (int i = 0; i < ids.length; i++) {
        if (list.get(i) == null) {
          return Result.bad("null token id");
        }
        ids[i] = (Integer) list.get(i);
      }
    }
    if (ids.length == 0) {
      return Result.bad("no token");
    }
    for (int id : ids) {
      if (id < 0 || id >= vocabulary) {
        return Result.bad(
            String.format(
                Locale.ROOT, "token id outside the model's vocabulary of %d", vocabulary));
      }
    }
    return new Result(ids, "");
  }
}

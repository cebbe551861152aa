package org.mixedgpu.cake.spark;

import java.util.List;
import java.util.Locale;
import org.mixedgpu.nn.tokenizer.Tokenizer;
import scala.jdk.javaapi.CollectionConverters;

/** Token ids of one row, or why there are none: a bad row is a row with a status. */
final class PromptReader {
  /**
   * @param ids null where the row can't be used
   * @param problem null where it can
   */
  record Prompt(int[] ids, String problem) {
    static Prompt bad(String problem, Object... values) {
      return new Prompt(null, String.format(Locale.ROOT, problem, values));
    }
  }

  private final Tokenizer tokenizer;
  private final int vocabulary;
  private final int maxTokens;

  /**
   * @param tokenizer for text; may be null where rows hold token ids
   * @param vocabulary ids must be below
   */
  PromptReader(Tokenizer tokenizer, int vocabulary, int maxTokens) {
    this.tokenizer = tokenizer;
    this.vocabulary = vocabulary;
    this.maxTokens = maxTokens;
  }

  /** Of a column's value that holds text or an array of int or long. */
  Prompt read(Object cell) {
    if (cell == null) {
      return Prompt.bad("The prompt is null");
    }
    int[] ids;
    if (cell instanceof String text) {
      if (text.isEmpty()) {
        return Prompt.bad("The prompt is empty");
      }
      ids = tokenizer.encode(text);
    } else {
      List<?> list = CollectionConverters.asJava((scala.collection.Seq<?>) cell);
      ids = new int[list.size()];
      for (int i = 0; i < ids.length; i++) {
        if (list.get(i) == null) {
          return Prompt.bad("Token %d of the prompt is null", i);
        }
        long id = ((Number) list.get(i)).longValue();
        if (id < 0 || id >= vocabulary) {
          return outside(i, id);
        }
        ids[i] = (int) id;
      }
    }
    if (ids.length == 0) {
      return Prompt.bad("The prompt has no tokens");
    }
    if (ids.length > maxTokens) {
      return Prompt.bad(
          "The prompt has %d tokens, at most %d are computed; raise maxPromptTokens, up to what the"
              + " model was made for",
          ids.length, maxTokens);
    }
    for (int i = 0; i < ids.length; i++) {
      if (ids[i] < 0 || ids[i] >= vocabulary) {
        return outside(i, ids[i]);
      }
    }
    return new Prompt(ids, null);
  }

  private Prompt outside(int i, long id) {
    return Prompt.bad(
        "Token %d of the prompt is id %d, outside the model's vocabulary of %d", i, id, vocabulary);
  }
}

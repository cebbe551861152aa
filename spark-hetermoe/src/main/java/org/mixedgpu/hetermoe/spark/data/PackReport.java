package org.mixedgpu.hetermoe.spark.data;

import java.io.Serializable;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * What became of a Dataset.
 *
 * @param rows seen
 * @param problems rows left out, by reason
 */
public record PackReport(TokenCorpus corpus, long rows, Map<String, Long> problems)
    implements Serializable {
  public PackReport {
    problems = Map.copyOf(problems);
  }

  public long badRows() {
    return problems.values().stream().mapToLong(Long::longValue).sum();
  }

  /** One line for the log. */
  public String summary() {
    String bad =
        problems.entrySet().stream()
            .sorted(Map.Entry.comparingByKey())
            .map(e -> e.getValue() + " " + e.getKey())
            .collect(Collectors.joining(", "));
    return String.format(
        Locale.ROOT,
        "packed %,d rows into %,d tokens, %,d sequences of %,d; %,d rows left out%s",
        rows,
        corpus.tokens(),
        corpus.sequences(),
        corpus.sequenceLength(),
        badRows(),
        bad.isEmpty() ? "" : " (" + bad + ")");
  }
}

package org.mixedgpu.base;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * All settings under one prefix. A key under the prefix that no entry has is an error: a mistyped
 * setting must not be ignored.
 *
 * @param prefix such as {@code spark.hetermoe.}
 * @param entries in the order of the documentation
 */
public record ConfSection(String prefix, List<ConfEntry<?>> entries) {
  public ConfSection {
    entries = List.copyOf(entries);
    for (ConfEntry<?> entry : entries) {
      Check.that(entry.key().startsWith(prefix), "%s is not under %s", entry.key(), prefix);
    }
  }

  /** Throws at the first unknown key under the prefix and at the first value out of range. */
  public void check(Map<String, String> settings) {
    for (String key : new TreeSet<>(settings.keySet())) {
      if (key.startsWith(prefix)) {
        Check.input(
            entries.stream().anyMatch(e -> e.key().equals(key)),
            "Unknown setting %s; the nearest known one is %s",
            key,
            nearest(key));
      }
    }
    for (ConfEntry<?> entry : entries) {
      entry.read(settings);
    }
  }

  /** The known key with the fewest edits; ties go to the first. */
  String nearest(String key) {
    String best = "";
    int least = Integer.MAX_VALUE;
    for (ConfEntry<?> entry : entries) {
      int edits = edits(entry.key(), key);
      if (edits < least) {
        least = edits;
        best = entry.key();
      }
    }
    return best;
  }

  /** Levenshtein distance. */
  private static int edits(String a, String b) {
    int[] row = new int[b.length() + 1];
    for (int j = 0; j < row.length; j++) {
      row[j] = j;
    }
    for (int i = 1; i <= a.length(); i++) {
      int diagonal = row[0];
      row[0] = i;
      for (int j = 1; j < row.length; j++) {
        int replace = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
        diagonal = row[j];
        row[j] = Math.min(replace, Math.min(row[j], row[j - 1]) + 1);
      }
    }
    return row[b.length()];
  }

  /** Lines for a {@code spark-defaults.conf}: each entry's meaning, then its default, disabled. */
  public String template() {
    StringBuilder text = new StringBuilder();
    for (ConfEntry<?> entry : entries) {
      text.append('\n');
      for (String line : wrapped(entry.doc(), 100)) {
        text.append("# ").append(line).append('\n');
      }
      text.append("# Use ").append(entry.rule()).append(".\n");
      text.append("# ").append(entry.key()).append("  ").append(entry.byDefault()).append('\n');
    }
    return text.toString();
  }

  /** A Markdown table for a README. */
  public String table() {
    StringBuilder text =
        new StringBuilder("| setting | default | meaning |\n| --- | --- | --- |\n");
    for (ConfEntry<?> entry : entries) {
      String shown = entry.byDefault().isEmpty() ? "" : "`" + entry.byDefault() + "`";
      text.append("| `").append(entry.key()).append("` | ").append(shown);
      text.append(entry.unit().isEmpty() || shown.isEmpty() ? "" : " " + entry.unit());
      text.append(" | ").append(entry.doc()).append(" |\n");
    }
    return text.toString();
  }

  private static List<String> wrapped(String text, int width) {
    List<String> lines = new ArrayList<>();
    StringBuilder line = new StringBuilder();
    for (String word : text.split(" ", -1)) {
      if (line.length() > 0 && line.length() + 1 + word.length() > width) {
        lines.add(line.toString());
        line.setLength(0);
      }
      line.append(line.length() == 0 ? "" : " ").append(word);
    }
    lines.add(line.toString());
    return lines;
  }
}

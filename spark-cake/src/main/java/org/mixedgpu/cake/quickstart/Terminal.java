package org.mixedgpu.cake.quickstart;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Plots and tables for a terminal, as text. */
final class Terminal {
  private Terminal() {}

  /**
   * A curve of one value per step, {@code rows} lines high and at most {@code columns} wide; a
   * column shows the mean of its steps.
   */
  static String curve(double[] values, int rows, int columns) {
    int width = Math.min(columns, values.length);
    double[] means = new double[width];
    double low = Double.MAX_VALUE;
    double high = -Double.MAX_VALUE;
    for (int c = 0; c < width; c++) {
      int from = (int) ((long) c * values.length / width);
      int to = (int) ((long) (c + 1) * values.length / width);
      for (int i = from; i < to; i++) {
        means[c] += values[i] / (to - from);
      }
      low = Math.min(low, means[c]);
      high = Math.max(high, means[c]);
    }
    double range = Math.max(1e-12, high - low);
    StringBuilder text = new StringBuilder();
    for (int r = rows - 1; r >= 0; r--) {
      double label = low + range * r / Math.max(1, rows - 1);
      text.append(String.format(Locale.ROOT, "%8.3f |", label));
      for (int c = 0; c < width; c++) {
        long level = Math.round((means[c] - low) / range * (rows - 1));
        text.append(level == r ? '*' : ' ');
      }
      text.append('\n');
    }
    text.append("         +").append("-".repeat(width)).append('\n');
    text.append(String.format(Locale.ROOT, "          1%" + (width - 1) + "d%n", values.length));
    return text.toString();
  }

  /** Columns padded to their widest cell; the first to the left, others to the right. */
  static String table(List<String> head, List<List<String>> rows) {
    List<List<String>> all = new ArrayList<>();
    all.add(head);
    all.addAll(rows);
    StringBuilder text = new StringBuilder();
    for (List<String> row : all) {
      for (int c = 0; c < row.size(); c++) {
        int column = c;
        int width = all.stream().mapToInt(r -> r.get(column).length()).max().orElse(0);
        String pad = " ".repeat(width - row.get(c).length());
        text.append("  ").append(c == 0 ? row.get(c) + pad : pad + row.get(c));
      }
      text.append('\n');
    }
    return text.toString();
  }
}

package org.mixedgpu.cake.quickstart;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.ToIntFunction;
import org.mixedgpu.base.Check;
import org.mixedgpu.cake.quickstart.spark.ClusterRun.Prefilled;

/** Time to first token and where the KV came from, for each pass over the prompts. */
final class PrefillTable {
  static final List<String> HEAD =
      List.of(
          "pass",
          "prompts",
          "computed",
          "loaded",
          "reused",
          "TTFT median ms",
          "TTFT cold ms",
          "wall s");

  /**
   * One pass over all prompts.
   *
   * @param seconds wall time of the whole Spark action
   */
  record Pass(String name, List<Prefilled> rows, double seconds) {
    Pass {
      rows = List.copyOf(rows);
      for (Prefilled row : rows) {
        Check.that(
            row.status().equals("OK"), "Prompt %d of pass %s: %s", row.id(), name, row.status());
      }
    }

    long sum(ToIntFunction<Prefilled> count) {
      return rows.stream().mapToInt(count).sum();
    }

    double medianMillis() {
      return median(rows);
    }

    /** Median of the prompts whose prefix was not in memory: the first of each group and task. */
    double coldMillis() {
      return median(rows.stream().filter(r -> r.reused() * 10 < r.tokens()).toList());
    }

    /** Median of the others. */
    double warmMillis() {
      return median(rows.stream().filter(r -> r.reused() * 10 >= r.tokens()).toList());
    }

    private static double median(List<Prefilled> rows) {
      double[] sorted = rows.stream().mapToDouble(Prefilled::ttftMillis).sorted().toArray();
      return sorted.length == 0 ? Double.NaN : sorted[sorted.length / 2];
    }
  }

  private PrefillTable() {}

  static List<List<String>> rows(List<Pass> passes) {
    List<List<String>> rows = new ArrayList<>();
    for (Pass pass : passes) {
      rows.add(
          List.of(
              pass.name(),
              "" + pass.rows().size(),
              "" + pass.sum(Prefilled::computed),
              "" + pass.sum(Prefilled::loaded),
              "" + pass.sum(Prefilled::reused),
              decimal(pass.medianMillis()),
              decimal(pass.coldMillis()),
              decimal(pass.seconds())));
    }
    return rows;
  }

  /** Every pass must have given the same next tokens: modes differ in time only. */
  static boolean agree(List<Pass> passes) {
    List<String> first = passes.get(0).rows().stream().map(Prefilled::next).toList();
    return passes.stream()
        .allMatch(pass -> pass.rows().stream().map(Prefilled::next).toList().equals(first));
  }

  private static String decimal(double value) {
    return Double.isNaN(value) ? "-" : String.format(Locale.ROOT, "%.1f", value);
  }
}

package org.mixedgpu.cake.quickstart;

import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;
import org.mixedgpu.cake.quickstart.spark.ClusterRun;

/** What the quick start found, for the terminal and as a page. A pure function of the results. */
record Report(
    ClusterRun.Training training, List<Prompts.Prompt> prompts, List<PrefillTable.Pass> passes) {
  private static final String EMULATED =
      "This machine has no such GPUs: both sides run on its CPU, slowed down in proportion to what"
          + " the GPU catalogue says of the two generations. Results are not changed by that.";

  String text() {
    double[] loss = values(ClusterRun.Step::loss);
    return "\nLoss by training step\n"
        + Terminal.curve(loss, 12, 72)
        + String.format(
            Locale.ROOT,
            "\nLoss %.3f -> %.3f; perplexity of held-out text %.2f per byte; %,.0f tokens/s;"
                + " busy: attention side %.0f %%, expert side %.0f %%%n%s%n",
            loss[0],
            loss[loss.length - 1],
            training.perplexity(),
            mean(ClusterRun.Step::tokensPerSecond),
            100 * mean(ClusterRun.Step::attentionBusy),
            100 * mean(ClusterRun.Step::expertBusy),
            EMULATED)
        + "\nPrefill by mode (tokens; the first pass wrote the caches that load and cake found)\n"
        + Terminal.table(PrefillTable.HEAD, PrefillTable.rows(passes))
        + "All modes gave the same next tokens: "
        + PrefillTable.agree(passes)
        + "\n";
  }

  String html(double seconds) {
    double[] steps = values(s -> s.step());
    Html page = new Html("Quick start: two GPU generations, one model");
    page.paragraph(
        String.format(
            Locale.ROOT,
            "A Mixture-of-Experts model was trained by two gangs of a Spark cluster on this machine"
                + " and then used to prefill %d prompts, in %.0f s.",
            prompts.size(),
            seconds));
    page.paragraph(EMULATED);
    double[] loss = values(ClusterRun.Step::loss);
    page.facts(
        List.of(
            new String[] {Svg.number(loss[0]) + " → " + Svg.number(last(loss)), "training loss"},
            new String[] {Svg.number(training.perplexity()), "perplexity per byte, held out"},
            new String[] {
              Svg.number(mean(ClusterRun.Step::tokensPerSecond)), "training tokens per second"
            },
            new String[] {
              String.format(
                  Locale.ROOT,
                  "%.0f %% / %.0f %%",
                  100 * mean(ClusterRun.Step::attentionBusy),
                  100 * mean(ClusterRun.Step::expertBusy)),
              "busy: attention / experts"
            }));
    page.heading("Training");
    page.plot(
        Svg.lines("step", "cross entropy", false, List.of(new Svg.Series("loss", steps, loss))),
        "Mean cross entropy of each step's batch, in nats per byte.");
    page.plot(
        Svg.lines(
            "step",
            "busy share (%)",
            true,
            List.of(
                new Svg.Series("attention", steps, percent(ClusterRun.Step::attentionBusy)),
                new Svg.Series("experts", steps, percent(ClusterRun.Step::expertBusy)))),
        "Share of each step in which a side's compute lane had work.");
    page.heading("Prefill");
    page.plot(
        bars(),
        "Median time to first token, for prompts that found their prefix in the task's memory and for"
            + " those that did not.");
    page.table(PrefillTable.HEAD, PrefillTable.rows(passes));
    page.paragraph(
        "Counts are tokens. The first pass found no cache, computed, wrote the caches to HDFS, and"
            + " warmed up the executors; compute loads nothing, load and cake found the caches."
            + " TTFT cold is the median over prompts whose prefix was not in a task's memory. All"
            + " modes gave the same next tokens: "
            + PrefillTable.agree(passes)
            + ".");
    return page.page();
  }

  private String bars() {
    double[][] millis = new double[2][passes.size()];
    for (int p = 0; p < passes.size(); p++) {
      millis[0][p] = passes.get(p).coldMillis();
      millis[1][p] = passes.get(p).warmMillis();
    }
    return Svg.bars(
        "TTFT (ms)",
        List.of("prefix not in memory", "prefix in memory"),
        passes.stream().map(PrefillTable.Pass::name).toList(),
        millis);
  }

  private double[] values(ToDoubleFunction<ClusterRun.Step> value) {
    return training.steps().stream().mapToDouble(value).toArray();
  }

  private double[] percent(ToDoubleFunction<ClusterRun.Step> share) {
    return values(step -> 100 * share.applyAsDouble(step));
  }

  private double mean(ToDoubleFunction<ClusterRun.Step> value) {
    return training.steps().stream().mapToDouble(value).average().orElse(Double.NaN);
  }

  private static double last(double[] values) {
    return values[values.length - 1];
  }
}

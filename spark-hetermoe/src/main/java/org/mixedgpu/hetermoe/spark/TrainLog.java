package org.mixedgpu.hetermoe.spark;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.mixedgpu.hetermoe.spark.gang.Progress;
import org.mixedgpu.hetermoe.train.StepReport;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Hears the first member's step reports in the driver: one log line each, and the history. A
 * restarted gang repeats steps; the newer report of a step replaces the older.
 */
final class TrainLog implements Progress {
  private static final Logger LOG = LoggerFactory.getLogger(HeterMoe.class);

  private final long steps;
  private final List<StepReport> reports = new ArrayList<>();

  TrainLog(long steps) {
    this.steps = steps;
  }

  @Override
  public synchronized void reported(int epoch, int rank, Serializable value) {
    if (rank != 0 || !(value instanceof StepReport report)) {
      return;
    }
    while (!reports.isEmpty() && reports.get(reports.size() - 1).step() >= report.step()) {
      reports.remove(reports.size() - 1);
    }
    reports.add(report);
    if (report.updated()) {
      LOG.info(line(report));
    } else {
      LOG.warn(line(report));
    }
  }

  String line(StepReport report) {
    String line = measured(report);
    if (report.lossScale() != 1) {
      line += String.format(Locale.ROOT, ", loss scaled by %,.0f", report.lossScale());
    }
    return report.updated()
        ? line
        : line
            + ", skipped: its gradients were not finite, so no weight was changed, and the next"
            + " step halves the scale";
  }

  private String measured(StepReport report) {
    return String.format(
        Locale.ROOT,
        "step %d/%d: loss %.4f, aux %.4f, gradient norm %.3f, learning rate %.2e, %,.0f tokens/s,"
            + " busy: attention %.0f %%, experts %.0f %%",
        report.step(),
        steps,
        report.loss(),
        report.auxLoss(),
        report.gradientNorm(),
        report.learningRate(),
        report.tokensPerSecond(),
        100 * report.attentionBusyShare(),
        100 * report.expertBusyShare());
  }

  synchronized List<StepReport> reports() {
    return List.copyOf(reports);
  }
}

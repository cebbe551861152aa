package org.mixedgpu.hetermoe.train;

import java.io.Serializable;
import java.util.List;

/**
 * One training step. All members of a gang see the same report.
 *
 * @param step from 1
 * @param loss mean cross entropy over the targets of the batch, without auxiliary losses
 * @param auxLoss balancing loss and z-loss, coefficients included
 * @param gradientNorm global, before clipping; not finite where updated is false
 * @param learningRate of this step
 * @param targets tokens that were predicted
 * @param tokens tokens of the batch
 * @param seconds wall time of the step
 * @param busyShares for each rank the share of the step in which its compute lane had work; empty
 *     in one process
 * @param attentionRanks how many of the ranks are attention ranks
 * @param bytesSent payload between members in this step
 * @param lossScale factor on the loss while gradients were computed; 1 where nobody computes in F16
 * @param updated false where gradients were not finite at this scale, so that no weight changed
 */
public record StepReport(
    long step,
    double loss,
    double auxLoss,
    double gradientNorm,
    double learningRate,
    long targets,
    long tokens,
    double seconds,
    List<Double> busyShares,
    int attentionRanks,
    long bytesSent,
    double lossScale,
    boolean updated)
    implements Serializable {

  public StepReport {
    busyShares = List.copyOf(busyShares);
  }

  public double tokensPerSecond() {
    return tokens / seconds;
  }

  /** Mean over the attention ranks. */
  public double attentionBusyShare() {
    return mean(0, attentionRanks);
  }

  /** Mean over the expert ranks. */
  public double expertBusyShare() {
    return mean(attentionRanks, busyShares.size());
  }

  private double mean(int first, int last) {
    return busyShares.subList(first, last).stream()
        .mapToDouble(Double::doubleValue)
        .average()
        .orElse(0);
  }
}

package org.mixedgpu.cake.prefill;

import org.mixedgpu.base.Check;

/** Log-probabilities of logits: x - log Σ exp(x), summed in double. */
public final class LogProbabilities {
  private LogProbabilities() {}

  /** Of one token. */
  public static double of(float[] logits, int token) {
    Check.input(
        token >= 0 && token < logits.length,
        "Token %d is not in a vocabulary of %d",
        token,
        logits.length);
    return logits[token] - normalizer(logits);
  }

  /** log Σ exp(logits), without overflow. */
  public static double normalizer(float[] logits) {
    double max = Double.NEGATIVE_INFINITY;
    for (float x : logits) {
      max = Math.max(max, x);
    }
    double sum = 0;
    for (float x : logits) {
      sum += Math.exp(x - max);
    }
    return max + Math.log(sum);
  }

  /** The k tokens with the largest logits, largest first; ties to the lower id. */
  public static int[] top(float[] logits, int k) {
    int[] best = new int[Math.min(k, logits.length)];
    int count = 0;
    for (int token = 0; token < logits.length && best.length > 0; token++) {
      if (count == best.length && !(logits[token] > logits[best[count - 1]])) {
        continue;
      }
      int at = count < best.length ? count++ : count - 1;
      while (at > 0 && logits[token] > logits[best[at - 1]]) {
        best[at] = best[at - 1];
        at--;
      }
      best[at] = token;
    }
    return best;
  }
}

package org.mixedgpu.nn.verify;

import java.util.Locale;

/**
 * One thing that was compared.
 *
 * @param name such as {@code logits} or {@code k.3}
 * @param measure what the numbers are, such as "largest absolute difference"
 * @param found the difference; NaN is never within a limit
 * @param limit the largest that is accepted
 */
public record Compared(String name, String measure, double found, double limit) {
  public boolean within() {
    return found <= limit;
  }

  /** One line for a report. */
  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%-4s  %-52s %s %.2e, limit %.1e",
        within() ? "ok" : "FAIL",
        name,
        measure,
        found,
        limit);
  }
}

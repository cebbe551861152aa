package org.mixedgpu.hetermoe.exchange;

import java.time.Duration;
import org.mixedgpu.base.Check;

/**
 * What a connection may use.
 *
 * @param queueBytes payload on its way per channel, peer and direction; one message may be larger,
 *     and is then alone
 * @param timeout how long a receive waits for a message, and a send for room
 */
public record ExchangeLimits(long queueBytes, Duration timeout) {
  public static final ExchangeLimits DEFAULT =
      new ExchangeLimits(256L << 20, Duration.ofMinutes(5));

  public ExchangeLimits {
    Check.input(queueBytes > 0, "A queue needs room; found %d bytes", queueBytes);
    Check.input(
        timeout.compareTo(Duration.ZERO) > 0, "A time limit must be positive; found %s", timeout);
  }
}

package org.mixedgpu.hetermoe.exchange;

import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * A call failed because the exchange was aborted: not a cause but the echo of one, which the reason
 * names.
 */
public final class ExchangeAbortedException extends MixedGpuException {
  private static final long serialVersionUID = 1L;

  private final String reason;

  public ExchangeAbortedException(String reason) {
    super(Fault.MISSING, "The exchange was aborted: " + reason);
    this.reason = reason;
  }

  /** What {@link Exchange#abort} was given. */
  public String reason() {
    return reason;
  }
}

package org.mixedgpu.hetermoe.spark.exchange;

import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** A call failed because a peer is gone: seldom the cause, which is to be looked for there. */
public final class PeerLostException extends MixedGpuException {
  private static final long serialVersionUID = 1L;

  private final int peer;

  PeerLostException(int peer, String message) {
    super(Fault.MISSING, message);
    this.peer = peer;
  }

  /** Rank of the peer that is gone. */
  public int peer() {
    return peer;
  }
}

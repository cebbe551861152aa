package org.mixedgpu.hetermoe.spark.exchange;

import java.io.Serializable;

/** Where a member listens. */
public record PeerAddress(String host, int port) implements Serializable {
  @Override
  public String toString() {
    return host + ":" + port;
  }
}

package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.List;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.spark.exchange.PeerAddress;

/** What the driver answers to a {@link Word}. */
sealed interface Answer extends Serializable {
  /** The run's secret, for a member that is about to listen. */
  record Welcome(String secret) implements Answer {
    @Override
    public String toString() {
      return "Welcome"; // never the secret itself
    }
  }

  /** Not all members are here yet. */
  record Gathering() implements Answer {}

  /** All members are here. */
  record Running(int rank, Role role, List<PeerAddress> members) implements Answer {}

  /** The epoch is over, for this reason. */
  record Over(String reason) implements Answer {}
}

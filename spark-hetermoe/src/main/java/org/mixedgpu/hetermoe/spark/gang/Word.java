package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.List;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.spark.exchange.PeerAddress;

/**
 * What a member says to the driver. Each word gets its answer at once: the driver's side of Spark's
 * plugin RPC is one thread, and must never wait for another member there.
 */
sealed interface Word extends Serializable {
  String runId();

  int epoch();

  /** First word: asks for the run's secret. Answered by {@link Answer.Welcome}. */
  record Hello(String runId, int epoch) implements Word {}

  /**
   * Takes a place in the gang. Answered by a {@link Answer}.
   *
   * @param role null where the driver decides by generation
   * @param index partition of the role's stage
   * @param task Spark's id of the task attempt: tells a retry from the first try
   */
  record Register(String runId, int epoch, Role role, int index, long task, Place place)
      implements Word {}

  /** Asks how things stand, and says that the member lives. */
  record Poll(String runId, int epoch, long task) implements Word {}

  /** The member's task failed, or its caller was stopped. */
  record Failed(String runId, int epoch, long task, Failure failure) implements Word {}

  /** The member's last word. */
  record Left(String runId, int epoch, long task) implements Word {}

  /** Progress for the listener. */
  record Report(String runId, int epoch, long task, Serializable value) implements Word {}

  /**
   * Where a member is.
   *
   * @param address where it listens for its peers
   * @param addresses of its GPUs, as the cluster manager calls them
   * @param attempt 0, or how often Spark had started this task before
   */
  record Place(
      String host,
      String executor,
      PeerAddress address,
      String generation,
      List<String> addresses,
      int attempt)
      implements Serializable {}
}

package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.plan.Role;

/** A member's view of its gang. Used by the member's threads only. */
public interface MemberContext {
  /** The same for all members and all epochs of one {@link Gang#run}. */
  String runId();

  /** 0 at first, one more after each restart of the whole gang. */
  int epoch();

  Role role();

  /** 0 to attentionMembers − 1 for attention, then the experts. */
  int rank();

  int attentionMembers();

  int expertMembers();

  default int size() {
    return attentionMembers() + expertMembers();
  }

  /** The generation word of this member's resource, such as {@code hopper}. */
  String generation();

  /**
   * GPU addresses that the cluster gave to this task, such as {@code 0}; empty in local mode, where
   * nobody assigns GPUs.
   */
  List<String> addresses();

  /** Where this member runs, for logs and reports. */
  String host();

  /**
   * The connections to all other members, moving tensors of this backend. One exchange per member:
   * a second call with another backend fails. Closed by the runtime after the task, if the task has
   * not closed it.
   */
  Exchange exchange(Backend backend);

  /**
   * Sends progress to the {@link GangSpec#listener} in the driver. Does not wait and may be called
   * a few times per second.
   */
  void report(Serializable progress);

  /**
   * Whether this epoch is over because a member failed, a member is lost, or the caller stopped.
   */
  boolean aborted();
}

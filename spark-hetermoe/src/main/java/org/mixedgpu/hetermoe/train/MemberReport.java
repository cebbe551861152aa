package org.mixedgpu.hetermoe.train;

import java.io.Serializable;
import java.util.Optional;
import org.mixedgpu.hetermoe.plan.Timeline;
import org.mixedgpu.nn.checkpoint.SavedShard;

/**
 * What a member gives back at the end of a run.
 *
 * @param last report of the last step
 * @param packedTimeline this member's part of the last step's {@link Timeline}; empty if none was
 *     recorded
 * @param savedShard what this member has written of the result; null for nothing
 */
public record MemberReport(int rank, StepReport last, long[] packedTimeline, SavedShard savedShard)
    implements Serializable {

  public Optional<Timeline> timeline() {
    return packedTimeline.length == 0
        ? Optional.empty()
        : Optional.of(Timeline.unpack(packedTimeline));
  }

  public Optional<SavedShard> shard() {
    return Optional.ofNullable(savedShard);
  }
}

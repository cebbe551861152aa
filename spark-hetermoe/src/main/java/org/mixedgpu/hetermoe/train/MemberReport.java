package org.mixedgpu.hetermoe.train;

import java.io.Serializable;
import java.util.Optional;
import org.mixedgpu.hetermoe.plan.Timeline;

/**
 * What a member gives back at the end of a run.
 *
 * @param last report of the last step
 * @param packedTimeline this member's part of the last step's {@link Timeline}; empty if none was
 *     recorded
 */
public record MemberReport(int rank, StepReport last, long[] packedTimeline)
    implements Serializable {

  public Optional<Timeline> timeline() {
    return packedTimeline.length == 0
        ? Optional.empty()
        : Optional.of(Timeline.unpack(packedTimeline));
  }
}

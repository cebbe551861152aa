package org.mixedgpu.hetermoe.plan;

/**
 * One unit of a training step.
 *
 * @param layer decoder layer, from 0; the number of layers for HEAD and UPDATE. ATTENTION of a
 *     layer begins with the combine of the previous layer with experts and the dense layers between
 * @param microBatch from 0
 */
public record Task(TaskKind kind, int layer, int microBatch, Direction direction) {

  /**
   * The lane that runs this task. Traffic is put on lanes by where it flows, so that the two lanes
   * use both directions of a full-duplex link: what attention ranks send is on DISPATCH, what
   * expert ranks send on COMBINE.
   */
  public LaneKind lane() {
    return switch (kind) {
      case ATTENTION, EXPERT, HEAD, UPDATE -> LaneKind.COMPUTE;
      case DISPATCH -> direction == Direction.FORWARD ? LaneKind.DISPATCH : LaneKind.COMBINE;
      case COMBINE -> direction == Direction.FORWARD ? LaneKind.COMBINE : LaneKind.DISPATCH;
    };
  }

  /** Whether a rank of this role is at the receiving end of this task; false for computing. */
  public boolean isReceivedBy(Role role) {
    return switch (lane()) {
      case COMPUTE -> false;
      case DISPATCH -> role == Role.EXPERT;
      case COMBINE -> role == Role.ATTENTION;
    };
  }

  /** Such as {@code A3.1f}: kind, layer, micro-batch, pass. */
  @Override
  public String toString() {
    return kind.label() + layer + "." + microBatch + (direction == Direction.FORWARD ? "f" : "b");
  }
}

package org.mixedgpu.cake.plan;

import java.util.Optional;

/**
 * How a prompt stands between its two sides at one moment, and how fast they have been. Times in
 * nanoseconds.
 *
 * @param compute empty before any chunk was computed
 * @param link empty while nothing recent is known of it
 * @param front the chunk that the compute side has taken or takes next
 * @param frontNanos for how long it has been computing that chunk
 * @param frontWaits whether it leaves that chunk and all behind it to the loader
 * @param inFlight this prompt's reads in flight, without those overtaken
 * @param linkNanos since a read ended or the first of these began, whichever was later; 0 without
 *     reads in flight
 * @param patience for how long the compute side may still wait in this prompt
 */
public record RaceFacts(
    Optional<ComputeCost> compute,
    Optional<LinkCost> link,
    int front,
    double frontNanos,
    boolean frontWaits,
    int inFlight,
    double linkNanos,
    double patience) {
  boolean known() {
    return compute.isPresent() && link.isPresent();
  }
}

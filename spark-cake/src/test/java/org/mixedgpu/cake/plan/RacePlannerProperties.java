package org.mixedgpu.cake.plan;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Optional;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.IntRange;

/** Whole prompts in simulated time: what the decisions come to, with right and wrong facts. */
class RacePlannerProperties {
  private static final double FIRST = 100;

  /** A prompt whose chunks are all stored, computed front to back and read one after the other. */
  private static final class Race {
    final ComputeCost compute;
    final double read;
    final int chunks;
    final int depth;
    final RaceFacts known;
    double now;
    int overtaken;

    /** When a chunk's bytes are there; 0 where no read of it has begun. */
    private final double[] end;

    private final boolean[] taken;
    private double linkFree;
    private int front;
    private double frontSince;
    private boolean frontWaits;
    private double patience = -1;

    Race(ComputeCost compute, double read, int chunks, int depth, ComputeCost c, LinkCost l) {
      this.compute = compute;
      this.read = read;
      this.chunks = chunks;
      this.depth = depth;
      known = new RaceFacts(Optional.of(c), Optional.of(l), 0, 0, false, 0, 0, 0);
      end = new double[chunks];
      taken = new boolean[chunks];
    }

    private RaceFacts facts(double patience) {
      int inFlight = 0;
      for (int i = 0; i < chunks; i++) {
        inFlight += !taken[i] && end[i] > now ? 1 : 0;
      }
      double first = linkFree - inFlight * read;
      return new RaceFacts(
          known.compute(),
          known.link(),
          front,
          now - frontSince,
          frontWaits,
          inFlight,
          inFlight == 0 ? 0 : now - first,
          patience);
    }

    private void pump() {
      for (int i = chunks - 1; i >= 0; i--) {
        if (taken[i] || end[i] > 0) {
          continue;
        }
        if (facts(0).inFlight() == depth || !RacePlanner.begins(facts(0), i)) {
          return;
        }
        linkFree = Math.max(now, linkFree) + read;
        end[i] = linkFree;
      }
    }

    /** Lets time pass, with a decision at the end of every read. */
    private void until(double time) {
      while (now < time) {
        double next = time;
        for (int i = 0; i < chunks; i++) {
          next = !taken[i] && end[i] > now ? Math.min(next, end[i]) : next;
        }
        now = next;
        pump();
      }
    }

    private boolean waited(int i, int open) {
      double left = patience < 0 ? known.compute().get().of(i) : patience;
      double most = RacePlanner.waits(facts(left), i, open);
      if (most <= 0) {
        return false;
      }
      at(i, open > 0);
      double begun = now;
      double deadline = begun + most;
      while (now < deadline && (end[i] == 0 || end[i] > now)) {
        double next = deadline;
        for (int c = 0; c < chunks; c++) {
          next = end[c] > now ? Math.min(next, end[c]) : next;
        }
        until(next);
      }
      patience = Math.max(0, left - (now - begun));
      return end[i] > 0 && end[i] <= now;
    }

    private void at(int i, boolean waits) {
      front = i;
      frontSince = now;
      frontWaits = waits;
      pump();
    }

    /** The time until all chunks are there. */
    double run() {
      pump();
      for (int i = 0; i < chunks; i++) {
        if (end[i] > 0 && end[i] <= now) {
          continue;
        }
        int open = 0;
        for (int c = i; c < chunks; c++) {
          open += !taken[c] && end[c] == 0 ? 1 : 0;
        }
        if (waited(i, end[i] > 0 ? 0 : open)) {
          continue;
        }
        if (end[i] > now) {
          overtaken++;
          linkFree -= read;
        }
        taken[i] = true;
        at(i, false);
        until(now + compute.of(i));
      }
      return now;
    }
  }

  /** The best that a front computed and a back read one after the other can do. */
  private static double best(ComputeCost compute, double read, int chunks) {
    double best = Double.POSITIVE_INFINITY;
    for (int split = 0; split <= chunks; split++) {
      best = Math.min(best, Math.max(compute.of(0, split), (chunks - split) * read));
    }
    return best;
  }

  @Property(tries = 3000)
  void whoKnowsTheSpeedsIsNeverSlowerThanTheBetterSideAlone(
      @ForAll @IntRange(min = 1, max = 40) int chunks,
      @ForAll @IntRange(min = 1, max = 8) int depth,
      @ForAll @DoubleRange(min = 0, max = 20) double growth,
      @ForAll @DoubleRange(min = -5, max = 5) double logRead) {
    ComputeCost compute = new ComputeCost(FIRST, growth);
    double read = FIRST * Math.pow(2, logRead);
    Race race = new Race(compute, read, chunks, depth, compute, new LinkCost(read, read));
    double time = race.run();
    double alone = Math.min(compute.of(0, chunks), read * chunks);
    assertThat(time).isLessThanOrEqualTo(alone + 0.2 * compute.of(chunks));
    assertThat(time)
        .isLessThanOrEqualTo(best(compute, read, chunks) + compute.of(chunks) * (1 + 1e-9));
    assertThat(race.overtaken).as("reads in vain").isZero();
  }

  @Property(tries = 3000)
  void whoIsWrongAboutTheSpeedsLosesOneChunkAtMostAgainstComputing(
      @ForAll @IntRange(min = 1, max = 40) int chunks,
      @ForAll @IntRange(min = 1, max = 8) int depth,
      @ForAll @DoubleRange(min = 0, max = 20) double growth,
      @ForAll @DoubleRange(min = -5, max = 9) double logRead,
      @ForAll @DoubleRange(min = -5, max = 5) double logThought,
      @ForAll @DoubleRange(min = -2, max = 2) double logCompute) {
    ComputeCost compute = new ComputeCost(FIRST, growth);
    double factor = Math.pow(2, logCompute);
    ComputeCost thought = new ComputeCost(factor * FIRST, factor * growth);
    double link = FIRST * Math.pow(2, logThought);
    double read = FIRST * Math.pow(2, logRead);
    Race race = new Race(compute, read, chunks, depth, thought, new LinkCost(link, link));
    assertThat(race.run())
        .isLessThanOrEqualTo((compute.of(0, chunks) + thought.of(chunks)) * (1 + 1e-9));
  }
}

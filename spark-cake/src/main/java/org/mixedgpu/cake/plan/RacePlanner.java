package org.mixedgpu.cake.plan;

/**
 * Decides who gets a chunk of a prompt whose front is computed while its back is read: which reads
 * begin, and which are waited for. A read that comes too late is no loss of time for its prompt,
 * but holds the link; one that is waited for in vain is. So a read begins only if it is expected to
 * end before the compute side would have done without it, after all reads that are in flight: on a
 * slow link that is one at a time or none, on a fast one as many as there may be.
 *
 * <p>As long as a speed is not known: one read at a time and no waiting, as in the paper. Pure.
 */
public final class RacePlanner {
  /** A read may end after the compute side has come to its chunk by this part of its cost. */
  private static final double LATEST_END = 0.5;

  /** What is waited for must be expected within this part of the cost of computing. */
  private static final double WORTH_WAITING = 0.8;

  /** A wait ends after this many times what was expected, and this part of what computing costs. */
  private static final double WAIT_FOR = 1.5;

  private static final double AND_FOR = 0.1;

  /** A read that is late is expected to last this many times what it has. */
  private static final double LATE = 1.25;

  private RacePlanner() {}

  /** Whether a read of a chunk that nobody has should begin now. */
  public static boolean begins(RaceFacts facts, int chunk) {
    if (facts.frontWaits()) {
      return true;
    }
    if (!facts.known()) {
      return facts.inFlight() == 0;
    }
    ComputeCost compute = facts.compute().get();
    double now = compute.of(facts.front()) - facts.frontNanos();
    double reach =
        chunk <= facts.front() ? 0 : Math.max(0, now) + compute.of(facts.front() + 1, chunk);
    return ends(facts, 1) <= reach + LATEST_END * compute.of(chunk);
  }

  /**
   * For how long the compute side should wait for a chunk, nanoseconds; 0 to compute it at once.
   *
   * @param open stored chunks from this one on that nobody has; 0 if it is being read itself
   */
  public static double waits(RaceFacts facts, int chunk, int open) {
    if (!facts.known()) {
      return 0;
    }
    double left = ends(facts, open);
    double cost = facts.compute().get().of(chunk);
    return left > Math.min(facts.patience(), WORTH_WAITING * cost)
        ? 0
        : Math.min(facts.patience(), WAIT_FOR * left + AND_FOR * cost);
  }

  /**
   * Nanoseconds until the reads in flight are expected to have ended, and this many that begin now.
   * Right where the link serves one read after the other; where all share it they end together, not
   * later, and those in flight, which lie further back, have more time than the new ones.
   */
  private static double ends(RaceFacts facts, int more) {
    LinkCost link = facts.link().get();
    boolean busy = facts.inFlight() > 0;
    double passed = busy ? facts.linkNanos() : 0;
    double apart = passed > link.apart() ? LATE * passed : link.apart();
    double all = (facts.inFlight() + more) * apart - passed;
    return Math.max(all, more > 0 ? link.alone() : link.alone() - passed);
  }
}

package org.mixedgpu.hetermoe.exchange;

import java.util.Optional;
import java.util.function.Consumer;

/**
 * The connection of one member of a gang to all others. Ranks 0 to M−1 are attention members, M to
 * M+N−1 expert members. Messages flow in named channels, so that dispatch and combine never wait
 * for each other.
 */
public interface Exchange extends AutoCloseable {
  int rank();

  int size();

  /** Whether it must and does encrypt what leaves a process; Spark's settings say so. */
  boolean encrypted();

  /** The channel of this name, created at first use; every member uses the same names. */
  Channel channel(String name);

  /**
   * Makes every blocked and later call, here and at every reachable peer, fail with this reason.
   */
  void abort(String reason);

  /**
   * Sums on the members' devices, where this exchange has a way of its own for these members. All
   * of them ask for it, at the same point of their work.
   *
   * @param ranks ascending, the caller's among them
   */
  default Optional<DeviceSum> deviceSum(int[] ranks) {
    return Optional.empty();
  }

  /**
   * Tells the listener once why, soon after this exchange was aborted or a peer was lost that had
   * not closed its own. On a thread that must not wait.
   */
  void whenBroken(Consumer<String> listener);

  /** Ends the connections; the caller has made sure that no message is outstanding. */
  @Override
  void close();
}

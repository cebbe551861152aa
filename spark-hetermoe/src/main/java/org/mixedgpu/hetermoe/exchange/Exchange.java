package org.mixedgpu.hetermoe.exchange;

/**
 * The connection of one member of a gang to all others. Ranks 0 to M−1 are attention members, M to
 * M+N−1 expert members. Messages flow in named channels, so that dispatch and combine never wait
 * for each other.
 */
public interface Exchange extends AutoCloseable {
  int rank();

  int size();

  /** The channel of this name, created at first use; every member uses the same names. */
  Channel channel(String name);

  /**
   * Makes every blocked and later call, here and at every reachable peer, fail with this reason.
   */
  void abort(String reason);

  /** Ends the connections; the caller has made sure that no message is outstanding. */
  @Override
  void close();
}

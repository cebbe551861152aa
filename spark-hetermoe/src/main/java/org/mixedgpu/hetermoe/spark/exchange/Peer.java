package org.mixedgpu.hetermoe.spark.exchange;

import java.util.concurrent.atomic.AtomicReference;

/** What is known of another member: present, or gone and how. */
final class Peer {
  private final int rank;
  private final AtomicReference<String> gone = new AtomicReference<>();

  Peer(int rank) {
    this.rank = rank;
  }

  int rank() {
    return rank;
  }

  /** Records how the peer went; the first word counts. True if this was the first. */
  boolean leave(String how) {
    return gone.compareAndSet(null, how);
  }

  boolean isGone() {
    return gone.get() != null;
  }

  /** Throws if the peer is gone. */
  void refuseIfGone(String channel) {
    String how = gone.get();
    if (how != null) {
      throw new PeerLostException(
          rank, "Lost the peer on channel " + channel + ": rank " + rank + " " + how);
    }
  }
}

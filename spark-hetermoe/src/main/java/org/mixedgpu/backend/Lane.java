package org.mixedgpu.backend;

/**
 * Work in order, beside the work of other lanes. A lane is a host thread and, on a GPU, a stream:
 * backend ops called by submitted work go to this lane's stream, in order.
 *
 * <p>After a submitted work has thrown, later work is skipped, and {@link #synchronize}, its events
 * and {@link #close} rethrow the first failure. Any thread may submit.
 */
public interface Lane extends AutoCloseable {
  String name();

  /** Queues work; returns at once. The work may block its lane, never another. */
  void submit(Runnable work);

  /** An event that is reached when all work submitted so far is done, on the device too. */
  Event record();

  /** Work submitted after this starts after the event; the caller does not wait. */
  void await(Event event);

  /** Blocks the caller until all submitted work is done. */
  void synchronize();

  /** Synchronizes, then ends the lane. */
  @Override
  void close();
}

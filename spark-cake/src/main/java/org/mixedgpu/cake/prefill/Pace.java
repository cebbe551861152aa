package org.mixedgpu.cake.prefill;

/**
 * How long chunks took lately: running means over the prompts of one runner, in nanoseconds. They
 * decide only who does a chunk, never what it contains. Any thread.
 */
final class Pace {
  private static final double NEW = 0.3;

  private double compute;
  private double read;
  private double interval;

  synchronized void computed(long nanos) {
    compute = mean(compute, nanos);
  }

  /**
   * @param nanos of this read, from its start until its bytes were in the KV cache
   * @param sinceLast since the read before it ended, while reads were queued; what a read costs
   *     when several overlap
   */
  synchronized void read(long nanos, long sinceLast) {
    read = mean(read, nanos);
    interval = mean(interval, sinceLast);
  }

  /** Expected time to compute one chunk; 0 if unknown. */
  synchronized double compute() {
    return compute;
  }

  /** Expected time of one read; 0 if unknown. */
  synchronized double read() {
    return read;
  }

  /** Whether the loader is expected to bring this many chunks before one could be computed. */
  synchronized boolean loadsBeforeComputing(int chunks) {
    return compute > 0 && interval > 0 && read + interval * (chunks - 1) < compute;
  }

  private static double mean(double old, long nanos) {
    return old == 0 ? Math.max(1, nanos) : (1 - NEW) * old + NEW * nanos;
  }
}

package org.mixedgpu.backend.bench;

import java.util.Arrays;
import org.mixedgpu.backend.Backend;

/** One quantity, measured several times; ascending. */
public record Samples(double[] values) {
  private static final int WARM_UP = 3;
  private static final double SLICE_SECONDS = 0.02;
  private static final int MOST_REPEATS = 1000;

  public Samples {
    values = values.clone();
    Arrays.sort(values);
  }

  /** These and others of the same quantity; null for none. */
  public Samples and(Samples more) {
    if (more == null) {
      return this;
    }
    double[] both = Arrays.copyOf(values, values.length + more.values.length);
    System.arraycopy(more.values, 0, both, values.length, more.values.length);
    return new Samples(both);
  }

  public double median() {
    int middle = values.length / 2;
    return values.length % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  }

  /** Largest less smallest, as a part of the median. */
  public double spread() {
    return (values[values.length - 1] - values[0]) / median();
  }

  /**
   * Wall seconds of one op: as many repetitions as fill 20 ms, with one wait at their end. What it
   * costs to queue an op is hidden behind the device's work, or shows where it takes longer.
   */
  public static Samples seconds(Backend backend, Runnable op, int count) {
    for (int i = 0; i < WARM_UP; i++) {
      op.run();
    }
    double one = batch(backend, op, 1);
    int repeats = (int) Math.max(1, Math.min(MOST_REPEATS, SLICE_SECONDS / one));
    double[] seconds = new double[count];
    for (int i = 0; i < count; i++) {
      seconds[i] = batch(backend, op, repeats) / repeats;
    }
    return new Samples(seconds);
  }

  private static double batch(Backend backend, Runnable op, int repeats) {
    backend.synchronize();
    long start = System.nanoTime();
    for (int i = 0; i < repeats; i++) {
      op.run();
    }
    backend.synchronize();
    return (System.nanoTime() - start) / 1e9;
  }

  /** Seconds until an op is queued, the median of a few calls on an idle device. */
  public static double queueing(Backend backend, Runnable op) {
    double[] seconds = new double[9];
    for (int i = 0; i < seconds.length; i++) {
      backend.synchronize();
      long start = System.nanoTime();
      op.run();
      seconds[i] = (System.nanoTime() - start) / 1e9;
    }
    backend.synchronize();
    return new Samples(seconds).median();
  }
}

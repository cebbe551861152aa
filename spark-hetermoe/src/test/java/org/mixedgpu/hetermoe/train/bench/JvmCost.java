package org.mixedgpu.hetermoe.train.bench;

import com.sun.management.ThreadMXBean;
import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;

/**
 * Heap bytes that the living threads have allocated, and collections.
 *
 * @param steps that the bytes are of
 */
record JvmCost(long bytes, long collections, int steps) {

  static JvmCost now() {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long bytes = 0;
    for (long one : threads.getThreadAllocatedBytes(threads.getAllThreadIds())) {
      bytes += Math.max(0, one);
    }
    long collections = 0;
    for (GarbageCollectorMXBean collector : ManagementFactory.getGarbageCollectorMXBeans()) {
      collections += collector.getCollectionCount();
    }
    return new JvmCost(bytes, collections, 1);
  }

  JvmCost since(JvmCost start, int stepsMade) {
    return new JvmCost(bytes - start.bytes, collections - start.collections, stepsMade);
  }

  double bytesPerStep() {
    return (double) bytes / steps;
  }
}

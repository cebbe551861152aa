package org.mixedgpu.hetermoe.spark.gang;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The driver's runs by id: where words of members arrive, whichever SparkContext they run under.
 */
final class Rendezvous {
  private static final Map<String, Epoch> RUNS = new ConcurrentHashMap<>();

  private Rendezvous() {}

  /** Makes this the current epoch of the run. */
  static void open(String runId, Epoch epoch) {
    RUNS.put(runId, epoch);
  }

  static void close(String runId) {
    RUNS.remove(runId);
  }

  /** Returns at once, always. */
  static Object receive(Object message) {
    if (!(message instanceof Word word)) {
      throw new IllegalArgumentException("Not a word of a gang's member: " + message);
    }
    Epoch epoch = RUNS.get(word.runId());
    return epoch == null
        ? new Answer.Over("the run " + word.runId() + " has ended")
        : epoch.hear(word);
  }
}

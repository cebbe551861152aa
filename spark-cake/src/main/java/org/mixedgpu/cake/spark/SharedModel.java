package org.mixedgpu.cake.spark;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.BackendChoice;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.device.GpuAddress;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A model's weights, loaded once for all tasks of this JVM that use them, and kept for {@value
 * #IDLE_SECONDS} seconds after the last, because the next wave of tasks wants them again. Tasks
 * share the weights and the backend's threads; models and KV caches are their own.
 */
final class SharedModel {
  private static final Logger LOG = LoggerFactory.getLogger(SharedModel.class);
  static final int IDLE_SECONDS = 60;

  private static final Map<Key, SharedModel> OPEN = new HashMap<>();
  private static final ScheduledExecutorService IDLE =
      Executors.newSingleThreadScheduledExecutor(
          work -> {
            Thread thread = new Thread(work, "cake-idle-models");
            thread.setDaemon(true);
            return thread;
          });

  /** The stamp is part of it: a folder may be replaced while this JVM lives. */
  private record Key(String path, String stamp, BackendChoice backend, OptionalInt gpu) {
    static Key of(PrefillFacts facts) {
      return new Key(facts.modelPath(), facts.modelStamp(), facts.backend(), gpuOfTask());
    }

    /** The GPU that Spark gave to the running task; empty where it gave none. */
    private static OptionalInt gpuOfTask() {
      Map<String, List<String>> addresses = new HashMap<>();
      TaskContext.get()
          .resourcesJMap()
          .forEach((name, given) -> addresses.put(name, List.of(given.addresses())));
      return GpuAddress.ofTask(addresses);
    }
  }

  private final Key key;
  private final Backend backend;
  private final Parameters parameters;
  private int users;

  /** Ends this model later; null while it has users. */
  private Future<?> idle;

  private SharedModel(Key key, PrefillFacts facts) {
    this.key = key;
    long begun = System.nanoTime();
    checkUnchanged(facts);
    boolean onCluster = !SparkEnv.get().executorId().equals("driver");
    backend = facts.backend().openInTask(key.gpu(), onCluster);
    Parameters loaded = null;
    try {
      loaded = Checkpoint.load(facts.files(), facts.modelPath(), backend, Part.all());
      checkUnchanged(facts);
    } catch (RuntimeException e) {
      try (Backend last = backend;
          Parameters first = loaded) {
        throw e;
      }
    }
    parameters = loaded;
    LOG.info(
        "Loaded {} on {}: {} parameters in {} ms",
        facts.modelPath(),
        backend.name(),
        parameters.elements(),
        (System.nanoTime() - begun) / 1_000_000);
  }

  /** Other weights must not get the keys of those that the driver has read. */
  private static void checkUnchanged(PrefillFacts facts) {
    if (facts.cached()
        && !PrefillFacts.stamp(facts.files(), facts.modelPath()).equals(facts.modelStamp())) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "The model in %s is no longer the one that transform has read: its files have changed"
                  + " since, or differ from machine to machine; call transform again, with a folder"
                  + " on a file system that driver and executors share",
              facts.modelPath()));
    }
  }

  /** One task's use of the weights; closing it ends the use. */
  static final class Lease implements AutoCloseable {
    private final SharedModel shared;
    private final DecoderModel model;
    private boolean closed;

    private Lease(SharedModel shared, int maxPositions) {
      this.shared = shared;
      this.model =
          DecoderModel.open(
              shared.backend, shared.parameters.config(), shared.parameters, maxPositions);
    }

    DecoderModel model() {
      return model;
    }

    @Override
    public void close() {
      if (!closed) {
        closed = true;
        try (Use use = new Use(shared)) {
          model.close();
        }
      }
    }
  }

  /** Ends a use, whatever happens before. */
  private record Use(SharedModel shared) implements AutoCloseable {
    @Override
    public void close() {
      release(shared);
    }
  }

  /** Loads the weights, or waits until another task has. The caller closes the lease. */
  static Lease lease(PrefillFacts facts) {
    Key key = Key.of(facts);
    SharedModel shared;
    synchronized (OPEN) {
      shared = OPEN.get(key);
      if (shared == null) {
        closeUnused();
        shared = new SharedModel(key, facts);
        OPEN.put(shared.key, shared);
      }
      shared.users++;
      if (shared.idle != null) {
        // If it has begun it waits for this lock, and then sees the user.
        shared.idle.cancel(false);
        shared.idle = null;
      }
    }
    try {
      return new Lease(shared, facts.capacity());
    } catch (RuntimeException e) {
      release(shared);
      throw e;
    }
  }

  private static void release(SharedModel shared) {
    synchronized (OPEN) {
      shared.users--;
      if (shared.users == 0) {
        shared.idle = IDLE.schedule(() -> closeIdle(shared), IDLE_SECONDS, TimeUnit.SECONDS);
      }
    }
  }

  private static void closeIdle(SharedModel shared) {
    synchronized (OPEN) {
      if (shared.users == 0 && OPEN.remove(shared.key, shared)) {
        shared.close();
      }
    }
  }

  /** Makes room for another model at once; gives what went wrong, such as a leak. */
  static List<RuntimeException> closeUnused() {
    List<RuntimeException> failures = new ArrayList<>();
    synchronized (OPEN) {
      OPEN.values()
          .removeIf(
              shared -> {
                boolean unused = shared.users == 0;
                if (unused) {
                  shared.close().ifPresent(failures::add);
                }
                return unused;
              });
    }
    return failures;
  }

  /** Models that tasks hold. */
  static int inUse() {
    synchronized (OPEN) {
      return OPEN.size();
    }
  }

  private Optional<RuntimeException> close() {
    try (Backend last = backend) {
      parameters.close();
      return Optional.empty();
    } catch (RuntimeException e) {
      // No task is left that it could fail.
      LOG.warn("Closing {} failed: {}", key.path(), e.toString());
      return Optional.of(e);
    }
  }
}

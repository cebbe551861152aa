package org.mixedgpu.hetermoe.spark;

import java.util.OptionalInt;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.ToDoubleFunction;
import org.apache.spark.SparkEnv;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.checkpoint.Checkpoint;

/**
 * The model that this JVM scores rows with, kept from one task to the next: loading it costs more
 * than most partitions. One at a time; asking for another closes the first. Tasks take turns.
 */
final class LoadedModel implements AutoCloseable {
  private static final ReentrantLock TURN = new ReentrantLock();
  private static LoadedModel current;

  private final String folder;
  private final Deployment deployment;
  private final OptionalInt gpu;
  private final Backend backend;
  private final Parameters parameters;
  private final DecoderModel model;

  private LoadedModel(String folder, Deployment deployment, OptionalInt gpu) {
    this.folder = folder;
    this.deployment = deployment;
    this.gpu = gpu;
    boolean onCluster = !SparkEnv.get().executorId().equals("driver");
    backend = deployment.backend().openInTask(gpu, onCluster);
    Parameters loaded = null;
    try {
      loaded = Checkpoint.load(deployment.store(), folder, backend, Part.all());
      model = DecoderModel.open(backend, loaded.config(), loaded, loaded.config().maxPositions());
    } catch (RuntimeException e) {
      if (loaded != null) {
        loaded.close();
      }
      backend.close();
      throw e;
    }
    parameters = loaded;
  }

  /** Computes with the scorer of this folder's model, after every other user of this JVM's. */
  static double with(String folder, Deployment deployment, ToDoubleFunction<Scorer> action) {
    TURN.lock();
    try {
      OptionalInt gpu = Deployment.gpuOfTask();
      if (current == null || !current.serves(folder, deployment, gpu)) {
        if (current != null) {
          current.close();
          current = null;
        }
        current = new LoadedModel(folder, deployment, gpu);
      }
      return action.applyAsDouble(new Scorer(current.backend, current.model));
    } finally {
      TURN.unlock();
    }
  }

  /** The backend may differ between applications of one test JVM, the GPU between tasks. */
  private boolean serves(String otherFolder, Deployment other, OptionalInt otherGpu) {
    return folder.equals(otherFolder)
        && deployment.backend().equals(other.backend())
        && gpu.equals(otherGpu);
  }

  @Override
  public void close() {
    model.close();
    parameters.close();
    backend.close();
  }
}

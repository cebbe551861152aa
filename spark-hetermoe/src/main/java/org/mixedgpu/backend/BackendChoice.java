package org.mixedgpu.backend;

import java.io.Serializable;
import java.util.Locale;
import java.util.OptionalInt;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.device.GpuInventory;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Which backend the processes of a run open, as its settings say. Decided once; which GPU each
 * process gets is the cluster manager's word.
 *
 * @param precision {@code AUTO} or {@code FP32} on the CPU
 * @param threads compute threads of a CPU backend
 * @param memoryLimitBytes most bytes of open tensors at one time
 */
public record BackendChoice(
    BackendKind kind, Precision precision, int threads, long memoryLimitBytes)
    implements Serializable {
  private static final long serialVersionUID = 1L;
  private static final Logger LOG = LoggerFactory.getLogger(BackendChoice.class);

  /** As CUDA counts. */
  private static final String FIRST = "0";

  public BackendChoice {
    Check.input(
        kind == BackendKind.CUDA || precision == Precision.AUTO || precision == Precision.FP32,
        "precision is %s and the %s backend computes in fp32; use precision auto or fp32, or the"
            + " backend cuda",
        precision.word(),
        kind.name().toLowerCase(Locale.ROOT));
  }

  /**
   * The choice that these words make.
   *
   * @param backend {@code cpu} or {@code cuda}
   * @param precision see {@link Precision#named}
   * @param memoryLimitBytes 0 for no limit of ours
   */
  public static BackendChoice of(
      String backend, String precision, int threads, long memoryLimitBytes) {
    return new BackendChoice(
        kind(backend),
        Precision.named(precision),
        threads,
        memoryLimitBytes > 0 ? memoryLimitBytes : Long.MAX_VALUE);
  }

  private static BackendKind kind(String word) {
    return switch (word) {
      case "cpu" -> BackendKind.CPU;
      case "cuda" -> BackendKind.CUDA;
      default ->
          throw new MixedGpuException(
              Fault.BAD_INPUT, "Backend '" + word + "' is not known; use cpu or cuda");
    };
  }

  /**
   * Opens it, or fails: there is no fallback.
   *
   * @param gpu index as {@code nvidia-smi} counts, whatever CUDA_DEVICE_ORDER and
   *     CUDA_VISIBLE_DEVICES say; empty for the first that CUDA sees, where nobody assigns GPUs
   */
  public TrainingBackend open(OptionalInt gpu) {
    return switch (kind) {
      case CPU -> Backends.cpu(new CpuOptions(threads, memoryLimitBytes));
      case CUDA -> Backends.cuda(cudaOptions(gpu));
      case REFERENCE ->
          throw new MixedGpuException(
              Fault.BAD_INPUT, "The reference backend is for tests; use cpu or cuda");
    };
  }

  private CudaOptions cudaOptions(OptionalInt gpu) {
    String device = gpu.isEmpty() ? FIRST : GpuInventory.busId(gpu.getAsInt());
    return new CudaOptions(device, precision.type().orElse(null), memoryLimitBytes, null);
  }

  /**
   * {@link #open} for a task, which warns where it wants a GPU and was given none.
   *
   * @param onCluster whether somebody assigns GPUs
   */
  public TrainingBackend openInTask(OptionalInt gpu, boolean onCluster) {
    if (kind == BackendKind.CUDA && gpu.isEmpty() && onCluster) {
      LOG.warn(
          "Spark gave this task no GPU: it uses the first that CUDA sees, as do all others on this"
              + " machine that were given none. Ask for GPUs by the name that the Workers give them,"
              + " gpu or gpu-<generation>: spark.executor.resource.<name>.amount and"
              + " spark.task.resource.<name>.amount");
    }
    return open(gpu);
  }

  /** One phrase for logs, such as {@code cpu with 4 threads} or {@code cuda in bf16}. */
  public String summary() {
    return kind == BackendKind.CPU
        ? "cpu with " + threads + " threads"
        : kind.name().toLowerCase(Locale.ROOT)
            + (precision == Precision.AUTO
                ? " in each device's own precision"
                : " in " + precision.word());
  }
}

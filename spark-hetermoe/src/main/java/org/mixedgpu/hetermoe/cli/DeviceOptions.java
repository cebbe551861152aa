package org.mixedgpu.hetermoe.cli;

import java.util.OptionalInt;
import org.mixedgpu.backend.BackendChoice;
import org.mixedgpu.base.MixedGpuException;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Options of commands that compute in their own process. */
final class DeviceOptions {
  @Spec(Spec.Target.MIXEE)
  private CommandSpec spec;

  @Option(
      names = "--backend",
      defaultValue = "cpu",
      paramLabel = "NAME",
      description = "What computes: cpu or cuda. Default: ${DEFAULT-VALUE}. Example: cuda")
  private String backend;

  @Option(
      names = "--precision",
      defaultValue = "auto",
      paramLabel = "NAME",
      description =
          "Type that is computed in: auto, bf16, fp16 or fp32; auto is fp32 on the CPU, and on a"
              + " GPU bf16 from compute capability 8.0 on, fp16 before. Default: ${DEFAULT-VALUE}."
              + " Example: fp32")
  private String precision;

  @Option(
      names = "--gpu",
      paramLabel = "INDEX",
      description =
          "Which GPU, as nvidia-smi counts. Default: the first that CUDA sees. Example: 1")
  private Integer gpu;

  @Option(
      names = "--threads",
      defaultValue = "0",
      paramLabel = "COUNT",
      description =
          "Compute threads of the CPU backend; 0 for all cores. Default: ${DEFAULT-VALUE}."
              + " Example: 4")
  private int threads;

  /** What the words choose; a word that is not known is a mistake in the command. */
  BackendChoice choice() {
    if (threads < 0 || gpu != null && gpu < 0) {
      throw new ParameterException(
          spec.commandLine(),
          "--threads and --gpu must be 0 or more; found " + threads + " and " + gpu);
    }
    int used = threads == 0 ? Runtime.getRuntime().availableProcessors() : threads;
    try {
      return BackendChoice.of(backend, precision, used, 0 /* no limit */);
    } catch (MixedGpuException e) {
      throw new ParameterException(spec.commandLine(), e.getMessage(), e);
    }
  }

  OptionalInt gpu() {
    return gpu == null ? OptionalInt.empty() : OptionalInt.of(gpu);
  }
}

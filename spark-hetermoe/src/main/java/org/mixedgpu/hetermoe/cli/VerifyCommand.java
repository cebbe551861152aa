package org.mixedgpu.hetermoe.cli;

import java.io.PrintWriter;
import java.util.concurrent.Callable;
import org.mixedgpu.backend.BackendChoice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.train.verify.TrainingVerification;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.nn.verify.Compared;
import org.mixedgpu.nn.verify.ModelVerification;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Checks a model folder against what another program computed from it. */
@Command(
    name = "verify",
    mixinStandardHelpOptions = true,
    versionProvider = HeterMoeCli.Version.class,
    sortOptions = false,
    description = {
      "Computes a model, in F32 on the CPU unless told otherwise, and compares with a recorded run,"
          + " one line for each thing: logits, keys and values, and with --train a replayed"
          + " training run.",
      "",
      "Limits for a tolerance t: logits, keys and values t, absolute; losses t/10 and gradient"
          + " norms t, relative; final weights an RMS difference of t/10, and 99.9 %% of them"
          + " within t."
    },
    footer = {
      "",
      "src/test/python/make_golden.py shows how to record a run with Hugging Face transformers.",
      "",
      "Example:",
      "  hetermoe verify --model /models/mine --reference /models/mine/golden.safetensors",
      "  hetermoe verify --backend cuda --precision fp32 --model /models/mine \\",
      "    --reference /models/mine/golden.safetensors"
    })
final class VerifyCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(
      names = "--model",
      required = true,
      paramLabel = "DIR",
      description = "Hugging Face model folder. Example: hdfs:///models/mine")
  private String model;

  @Option(
      names = "--reference",
      required = true,
      paramLabel = "FILE",
      description =
          "Recorded tensors: input_ids, logits, k.LAYER, v.LAYER, train_ids. Example:"
              + " /models/mine/golden.safetensors")
  private String reference;

  @Option(
      names = "--train",
      paramLabel = "FILE",
      description =
          "Recorded training run, with final.safetensors beside it. Example:"
              + " /models/mine/train.json")
  private String train;

  @Option(
      names = "--tolerance",
      defaultValue = "1e-4",
      paramLabel = "NUMBER",
      description = "See above. Default: ${DEFAULT-VALUE}. Example: 1e-3")
  private double tolerance;

  @Mixin private DeviceOptions device;

  @Override
  public Integer call() {
    if (!(tolerance > 0)) {
      throw new ParameterException(
          spec.commandLine(), "--tolerance must be a positive number; found " + tolerance);
    }
    BackendChoice choice = device.choice();
    PrintWriter out = spec.commandLine().getOut();
    int[] outside = new int[1];
    int[] all = new int[1];
    FileStore files = HadoopFileStore.ofDefaults();
    try (TrainingBackend backend = choice.open(device.gpu())) {
      ModelVerification.run(
          files, model, reference, backend, tolerance, c -> print(out, c, all, outside));
      if (train != null) {
        int slices =
            TrainingVerification.run(
                files,
                model,
                reference,
                train,
                backend,
                tolerance,
                c -> print(out, c, all, outside));
        if (slices > 1) {
          out.println(
              "The training run is the one with its batch in "
                  + slices
                  + " slices: with fewer it did not agree to the end. Rounding can tip a router"
                  + " between two nearly equal experts.");
        }
      }
      out.println(
          all[0] + " compared, " + outside[0] + " beyond the tolerance, on " + backend.name());
    }
    out.flush();
    return outside[0] == 0 ? CommandLine.ExitCode.OK : CommandLine.ExitCode.SOFTWARE;
  }

  private static void print(PrintWriter out, Compared compared, int[] all, int[] outside) {
    out.println(compared);
    out.flush();
    all[0]++;
    outside[0] += compared.within() ? 0 : 1;
  }
}

package org.mixedgpu.hetermoe.train.bench;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.backend.bench.Results;
import org.mixedgpu.backend.bench.Samples;
import org.mixedgpu.backend.bench.TorchGpu;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.SingleProcessTrainer;
import org.mixedgpu.hetermoe.train.TrainerConfig;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.bench.BenchModels;
import org.mixedgpu.tensor.DType;

/**
 * Training steps of the HeterMoE paper's D1 and W1 on one GPU against transformers (SDPA, grouped
 * products of its experts, fused AdamW, all in BF16, no clipping) on the same GPU, by turns: tokens
 * per second, the most memory beyond weights, gradients and optimizer state (ours in F32 masters,
 * gradients and moments, with BF16 weights; PyTorch's all in BF16), and what a step costs the JVM.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.executable=java -Dexec.classpathScope=test \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *     -Dbench.out=src/test/results/cuda -Dbench.commit=$(git rev-parse --short HEAD) -cp %classpath \
 *     org.mixedgpu.hetermoe.train.bench.CudaTrainingBenchmark python3 2 D1 8x4096,1x32768"
 * </pre>
 *
 * Arguments: a Python with PyTorch and transformers, or {@code -} for none; how many turns; D1, W1
 * or {@code small}; batches as sequences x tokens. {@code -Dbench.slices} cuts a batch, default 1.
 */
public final class CudaTrainingBenchmark {
  private static final int SAMPLES = 5;
  private static final int WARM_UP = 2;

  private final ModelConfig config;
  private final int batch;
  private final int sequence;
  private Samples ours;
  private Samples theirs;
  private double beyond;
  private double theirBeyond = Double.NaN;
  private double ourDevice = Double.NaN;
  private JvmCost cost;
  private double launches;

  private CudaTrainingBenchmark(ModelConfig config, int batch, int sequence) {
    this.config = config;
    this.batch = batch;
    this.sequence = sequence;
  }

  public static void main(String[] args) {
    int rounds = Integer.parseInt(args[1]);
    ModelConfig config = model(args[2]);
    TorchGpu python = args[0].equals("-") ? null : new TorchGpu(args[0]);
    try {
      Results results =
          new Results(
              "training-" + args[2].toLowerCase(Locale.ROOT),
              "CudaTrainingBenchmark " + String.join(" ", args),
              python == null ? Map.of() : python.machine());
      for (String size : args[3].split(",")) {
        int cut = size.indexOf('x');
        CudaTrainingBenchmark benchmark =
            new CudaTrainingBenchmark(
                config,
                Integer.parseInt(size.substring(0, cut)),
                Integer.parseInt(size.substring(cut + 1)));
        benchmark.run(args[2] + " " + size, python, results, rounds);
      }
    } finally {
      if (python != null) {
        python.close();
      }
    }
  }

  private static ModelConfig model(String name) {
    return switch (name) {
      case "D1" -> BenchModels.mixtral(8, 1024, 24);
      case "W1" -> BenchModels.mixtral(4, 2048, 12);
      case "small" -> BenchModels.mixtral(2, 128, 4);
      default -> throw new IllegalArgumentException("D1, W1 or small; found " + name);
    };
  }

  private void run(String name, TorchGpu python, Results results, int rounds) {
    try {
      for (int round = 0; round < rounds; round++) {
        ourTurn(python);
        if (python != null) {
          theirTurn(python);
        }
      }
    } catch (RuntimeException e) {
      results.failed(name, e);
      return;
    }
    long tokens = (long) batch * sequence;
    String time = String.format(Locale.ROOT, "%.1f ms", 1e3 * ours.median());
    results.speed(name, ours, theirs, (double) tokens, "tokens/s", time);
    results.size(name + ", memory beyond state", beyond, theirBeyond, "GiB, less is better", "");
    results.size(
        name + ", in use on the device",
        ourDevice,
        Double.NaN,
        "GiB",
        "all processes, less what was before");
    results.size(
        name + ", kernels of a step",
        launches,
        Double.NaN,
        "launches",
        String.format(Locale.ROOT, "%.1f per layer", launches / config.layers()));
    results.size(
        name + ", JVM garbage of a step",
        cost.bytesPerStep() / 1e6,
        Double.NaN,
        "MB",
        cost.collections() + " collections in " + SAMPLES + " steps");
  }

  private void ourTurn(TorchGpu python) {
    double before = used(python);
    int slices = Integer.getInteger("bench.slices", 1);
    OptimizerConfig adamW =
        new OptimizerConfig(LearningRate.constant(1e-4), 0.9f, 0.95f, 1e-8f, 0.1f, 0);
    TrainerConfig settings = new TrainerConfig(batch, sequence, slices, adamW, AuxLoss.Kind.NONE);
    int[][] ids = new int[batch][];
    Arrays.setAll(ids, i -> BenchModels.tokens(sequence, config.vocab(), i));
    try (TrainingBackend backend = TestDevice.open(DType.BF16);
        Parameters parameters = Parameters.allocate(backend, config, Part.all())) {
      try (DeviceData data = new DeviceData(backend)) {
        data.fill(parameters);
      }
      try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, parameters, settings)) {
        double[] seconds = new double[SAMPLES];
        for (int i = 0; i < WARM_UP; i++) {
          trainer.step(ids);
        }
        long queued = TestDevice.launches(backend);
        JvmCost start = JvmCost.now();
        for (int i = 0; i < SAMPLES; i++) {
          seconds[i] = trainer.step(ids).seconds();
        }
        cost = JvmCost.now().since(start, SAMPLES);
        launches = (double) (TestDevice.launches(backend) - queued) / SAMPLES;
        ours = new Samples(seconds).and(ours);
        ourDevice = used(python) - before;
      }
      beyond = (backend.memoryUse().peakBytes() - state(parameters)) / 0x1p30;
    }
  }

  /** Weights, masters, and the gradients and two moments in F32. */
  private static double state(Parameters parameters) {
    double bytes = 3.0 * Float.BYTES * parameters.elements();
    for (Parameters.Entry entry : parameters.entries()) {
      bytes += entry.tensor().bytes();
      bytes += entry.master() == entry.tensor() ? 0 : entry.master().bytes();
    }
    return bytes;
  }

  private static double used(TorchGpu python) {
    return python == null ? Double.NaN : python.ask("used").get("bytes").asDouble() / 0x1p30;
  }

  private void theirTurn(TorchGpu python) {
    python.ask(BenchModels.open(config));
    JsonNode answer = python.ask("train " + SAMPLES + " " + batch + " " + sequence);
    theirs = TorchGpu.seconds(answer).and(theirs);
    theirBeyond =
        (answer.get("peakBytes").asDouble() - answer.get("stateBytes").asDouble()) / 0x1p30;
    python.ask("close");
  }
}

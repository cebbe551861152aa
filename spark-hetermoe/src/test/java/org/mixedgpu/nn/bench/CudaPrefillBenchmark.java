package org.mixedgpu.nn.bench;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.bench.DeviceData;
import org.mixedgpu.backend.bench.Results;
import org.mixedgpu.backend.bench.Samples;
import org.mixedgpu.backend.bench.TorchGpu;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Prefill of one prompt on a GPU, from token ids on the host to the last token's logits on the
 * host, with the KV cache kept: a model of Llama-3-8B's shape with random BF16 weights against
 * transformers with SDPA on the same GPU. The two take turns, and only one at a time holds a model.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.executable=java -Dexec.classpathScope=test \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *     -Dbench.out=src/test/results/cuda -Dbench.commit=$(git rev-parse --short HEAD) -cp %classpath \
 *     org.mixedgpu.nn.bench.CudaPrefillBenchmark python3 2 2048,8192,32768"
 * </pre>
 *
 * Arguments: a Python with PyTorch and transformers, or {@code -} for none; how many turns; the
 * prompts' lengths; and, if wanted, {@code small} for a model that tries the benchmark itself.
 */
public final class CudaPrefillBenchmark {
  private static final int SAMPLES = 5;
  private static final int WARM_UP = 2;

  private final ModelConfig config;
  private final int[] lengths;
  private final Map<Integer, Samples> ours = new LinkedHashMap<>();
  private final Map<Integer, Samples> theirs = new LinkedHashMap<>();
  private long peakBytes;

  private CudaPrefillBenchmark(ModelConfig config, int[] lengths) {
    this.config = config;
    this.lengths = lengths;
  }

  public static void main(String[] args) {
    int rounds = Integer.parseInt(args[1]);
    String[] words = args[2].split(",");
    int[] lengths = new int[words.length];
    for (int i = 0; i < lengths.length; i++) {
      lengths[i] = Integer.parseInt(words[i]);
    }
    boolean small = args.length > 3 && args[3].equals("small");
    ModelConfig config = small ? BenchModels.smallLlama() : BenchModels.llama3();
    CudaPrefillBenchmark benchmark = new CudaPrefillBenchmark(config, lengths);
    TorchGpu python = args[0].equals("-") ? null : new TorchGpu(args[0]);
    try {
      Results results =
          new Results(
              "prefill",
              "CudaPrefillBenchmark " + String.join(" ", args),
              python == null ? Map.of() : python.machine());
      for (int round = 0; round < rounds; round++) {
        benchmark.ourTurn();
        if (python != null) {
          benchmark.theirTurn(python);
        }
      }
      benchmark.report(results);
    } finally {
      if (python != null) {
        python.close();
      }
    }
  }

  private void ourTurn() {
    int longest = 0;
    for (int length : lengths) {
      longest = Math.max(longest, length);
    }
    try (TrainingBackend backend = TestDevice.open(DType.BF16);
        Parameters parameters = Parameters.forInference(backend, config, Part.all())) {
      try (DeviceData data = new DeviceData(backend)) {
        data.fill(parameters);
      }
      try (DecoderModel model = DecoderModel.open(backend, config, parameters, longest)) {
        for (int length : lengths) {
          ours.merge(length, time(backend, model, length), Samples::and);
        }
      }
      peakBytes = backend.memoryUse().peakBytes();
    }
  }

  private Samples time(TrainingBackend backend, DecoderModel model, int length) {
    int[] ids = BenchModels.tokens(length, config.vocab(), 1);
    ByteBuffer host =
        ByteBuffer.allocateDirect(config.vocab() * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    double[] seconds = new double[SAMPLES];
    try (KvCache cache = model.cache(length);
        Tensor hidden = backend.allocate(backend.computeType(), Shape.of(1, config.hidden()));
        Tensor logits = backend.allocate(DType.F32, Shape.of(1, config.vocab()))) {
      for (int i = -WARM_UP; i < SAMPLES; i++) {
        long start = System.nanoTime();
        model.prefill(ids, 0, length, cache, hidden);
        model.logits(logits, hidden);
        backend.read(host.clear(), logits);
        if (i >= 0) {
          seconds[i] = (System.nanoTime() - start) / 1e9;
        }
      }
    }
    return new Samples(seconds);
  }

  private void theirTurn(TorchGpu python) {
    python.ask(BenchModels.open(config));
    for (int length : lengths) {
      Samples seconds = TorchGpu.seconds(python.ask("prefill " + SAMPLES + " " + length));
      theirs.merge(length, seconds, Samples::and);
    }
    python.ask("close");
  }

  private void report(Results results) {
    for (int length : lengths) {
      Samples seconds = ours.get(length);
      String notes =
          String.format(
              Locale.ROOT,
              "%.1f ms, %.0f TFLOP/s",
              1e3 * seconds.median(),
              teraflop(length) / seconds.median());
      results.speed("prefill " + length, seconds, theirs.get(length), length, "tokens/s", notes);
    }
    results.size("peak memory", peakBytes / 0x1p30, Double.NaN, "GiB", "weights included");
  }

  /** Linear layers, the last token's logits, and half of each layer's square of scores. */
  private double teraflop(int length) {
    double perLayer =
        (double) config.hidden() * (2.0 * config.queryWidth() + 2.0 * config.kvWidth())
            + 3.0 * config.hidden() * config.intermediate();
    double linear = 2.0 * perLayer * config.layers() * length;
    double head = 2.0 * config.hidden() * config.vocab();
    double scores = 2.0 * config.layers() * config.queryWidth() * length * length;
    return (linear + head + scores) / 1e12;
  }
}

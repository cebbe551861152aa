package org.mixedgpu.nn.bench;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.train.LearningRate;
import org.mixedgpu.hetermoe.train.OptimizerConfig;
import org.mixedgpu.hetermoe.train.SingleProcessTrainer;
import org.mixedgpu.hetermoe.train.TrainerConfig;
import org.mixedgpu.nn.AuxLoss;
import org.mixedgpu.nn.DecoderModel;
import org.mixedgpu.nn.KvCache;
import org.mixedgpu.nn.ModelConfig;
import org.mixedgpu.nn.ModelFamily;
import org.mixedgpu.nn.MoeConfig;
import org.mixedgpu.nn.Parameters;
import org.mixedgpu.nn.Part;
import org.mixedgpu.nn.QkNorm;
import org.mixedgpu.nn.RopeConfig;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Prefill and training steps of about 100 million parameters in F32 on the CPU, against PyTorch and
 * Hugging Face transformers (SDPA attention, fused AdamW) on as many threads in the same run. The
 * two take turns, so that a noisy machine disturbs both; the best and the median of the rounds are
 * printed, and the least processor time, which says most on a busy machine.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.executable=java -Dexec.classpathScope=test \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *     -XX:MaxDirectMemorySize=8g -cp %classpath \
 *     org.mixedgpu.nn.bench.EngineBenchmark PYTHON THREADS ROUNDS [ONLY]"
 * </pre>
 *
 * ONLY may be one of dense, denseprefill, densetrain, moe, moeprefill and moetrain. PYTHON may be
 * {@code none}, and {@code profile} to see the ops instead: then THREADS should be 1, as only the
 * calling thread's time is counted. Working directory: spark-hetermoe.
 */
public final class EngineBenchmark {
  private static final int TOKENS = 1024;
  private static final int BATCH = 2;

  private final PrintStream out = System.out;
  private final TrainingBackend backend;
  private final TorchBaseline torch;
  private final int rounds;

  /** Null unless ops are to be timed. */
  private final OpTimes times;

  private EngineBenchmark(TrainingBackend backend, OpTimes times, TorchBaseline torch, int rounds) {
    this.backend = times == null ? backend : times.backend();
    this.times = times;
    this.torch = torch;
    this.rounds = rounds;
  }

  public static void main(String[] args) throws IOException {
    int threads = Integer.parseInt(args[1]);
    int rounds = Integer.parseInt(args[2]);
    String only = args.length > 3 ? args[3] : "";
    boolean profile = args[0].equals("profile");
    TorchBaseline torch =
        profile || args[0].equals("none") ? null : new TorchBaseline(args[0], threads);
    try (TrainingBackend b = Backends.cpu(new CpuOptions(threads, Long.MAX_VALUE))) {
      OpTimes times = profile ? new OpTimes(b) : null;
      EngineBenchmark benchmark = new EngineBenchmark(b, times, torch, rounds);
      benchmark.out.println(b.name());
      if (!only.startsWith("moe")) {
        benchmark.run("dense, 12 layers", dense(), only);
      }
      if (!only.startsWith("dense")) {
        benchmark.run("MoE, 6 layers, 8 experts, top 2", sparse(), only);
      }
    } finally {
      if (torch != null) {
        torch.close();
      }
    }
  }

  private void run(String name, ModelConfig config, String only) {
    try (Parameters p = Parameters.allocate(backend, config, Part.all())) {
      p.initialize(1);
      out.printf(Locale.ROOT, "%s, %.0f million parameters%n", name, p.elements() / 1e6);
      if (torch != null) {
        torch.ask("open " + config.family().modelType() + " " + json(config));
      }
      if (!only.endsWith("train")) {
        prefill(config, p);
      }
      if (!only.endsWith("prefill")) {
        train(p);
      }
      if (torch != null) {
        torch.ask("close");
      }
    }
  }

  private void prefill(ModelConfig config, Parameters p) {
    int[] ids = ids(TOKENS, config.vocab(), 1);
    try (DecoderModel model = DecoderModel.open(backend, config, p, TOKENS);
        KvCache cache = model.cache(TOKENS);
        Tensor hidden = backend.allocate(DType.F32, Shape.of(1, config.hidden()));
        Tensor logits = backend.allocate(DType.F32, Shape.of(1, config.vocab()))) {
      compare(
          "prefill",
          "prefill " + TOKENS,
          () -> {
            long start = System.nanoTime();
            model.prefill(ids, 0, TOKENS, cache, hidden);
            model.logits(logits, hidden);
            backend.synchronize();
            return (System.nanoTime() - start) / 1e9;
          });
    }
  }

  private void train(Parameters p) {
    int sequence = TOKENS / BATCH;
    OptimizerConfig adamW = OptimizerConfig.standard(LearningRate.constant(1e-4));
    TrainerConfig config = new TrainerConfig(BATCH, sequence, 1, adamW, AuxLoss.Kind.HUGGING_FACE);
    try (SingleProcessTrainer trainer = new SingleProcessTrainer(backend, p, config)) {
      int[][] batch = new int[BATCH][];
      Arrays.setAll(batch, i -> ids(sequence, p.config().vocab(), i));
      compare("train", "train " + BATCH + " " + sequence, () -> trainer.step(batch).seconds());
    }
  }

  private interface Timed {
    double seconds();
  }

  private void compare(String what, String command, Timed ours) {
    double[][] our = new double[2][rounds];
    double[][] their = new double[2][rounds];
    // Two warm-up rounds each: JIT, page faults, oneDNN's caches.
    for (int i = -2; i < rounds; i++) {
      if (i == 0 && times != null) {
        times.clear();
      }
      long processor = processorNanos();
      double seconds = ours.seconds();
      double processorSeconds = (processorNanos() - processor) / 1e9;
      double[] theirs = torch == null ? new double[] {Double.NaN, Double.NaN} : torch.ask(command);
      if (i >= 0) {
        our[0][i] = seconds;
        our[1][i] = processorSeconds;
        their[0][i] = theirs[0];
        their[1][i] = theirs[1];
      }
    }
    for (double[] seconds : new double[][] {our[0], our[1], their[0], their[1]}) {
      Arrays.sort(seconds);
    }
    report(what + ", best", our[0][0], their[0][0]);
    report(what + ", median", our[0][rounds / 2], their[0][rounds / 2]);
    report(what + ", processor", our[1][0], their[1][0]);
    if (times != null) {
      times.print(out, rounds);
    }
  }

  private static long processorNanos() {
    return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
        .getProcessCpuTime();
  }

  private void report(String what, double ours, double theirs) {
    out.printf(
        Locale.ROOT,
        "  %-18s %7.0f tokens/s, PyTorch %7.0f tokens/s, ratio %.2f%n",
        what,
        TOKENS / ours,
        TOKENS / theirs,
        theirs / ours);
  }

  private static int[] ids(int count, int vocab, int seed) {
    int[] ids = new int[count];
    Arrays.setAll(ids, i -> Math.floorMod((i + 31 * seed) * 0x9E3779B1, vocab));
    return ids;
  }

  private static ModelConfig dense() {
    return config(ModelFamily.LLAMA, 32000, 12, 12, 2048, Optional.empty());
  }

  private static ModelConfig sparse() {
    List<Boolean> all = Collections.nCopies(6, true);
    MoeConfig moe = new MoeConfig(8, 2, true, 768, 0, all, 0, 0);
    return config(ModelFamily.MIXTRAL, 16384, 6, 4, 0, Optional.of(moe));
  }

  private static ModelConfig config(
      ModelFamily family,
      int vocab,
      int layers,
      int kvHeads,
      int intermediate,
      Optional<MoeConfig> moe) {
    return new ModelConfig(
        family,
        vocab,
        768,
        layers,
        12,
        kvHeads,
        64,
        intermediate,
        1e-5f,
        RopeConfig.unscaled(10000),
        false,
        false,
        false,
        QkNorm.NONE,
        Collections.nCopies(layers, 0),
        false,
        moe,
        0.02f,
        2048,
        1,
        List.of(2));
  }

  private static String json(ModelConfig c) {
    String common =
        String.format(
            Locale.ROOT,
            "\"vocab_size\":%d,\"hidden_size\":%d,\"num_hidden_layers\":%d,"
                + "\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
                + "\"max_position_embeddings\":%d",
            c.vocab(),
            c.hidden(),
            c.layers(),
            c.heads(),
            c.kvHeads(),
            c.maxPositions());
    String rest =
        c.moe()
            .map(
                m ->
                    String.format(
                        Locale.ROOT,
                        "\"intermediate_size\":%d,\"num_local_experts\":%d,"
                            + "\"num_experts_per_tok\":%d",
                        m.intermediate(),
                        m.experts(),
                        m.topK()))
            .orElse("\"intermediate_size\":" + c.intermediate());
    return "{" + common + "," + rest + "}";
  }
}

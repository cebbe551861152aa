package org.mixedgpu.backend.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/**
 * The ops of the CUDA backend in BF16 beside PyTorch's on the same GPU, by turns: matrix products,
 * attention, the experts' grouped products, and the ops that are bound by memory, also as a part of
 * the bandwidth of a device copy. A ratio above 1 means faster than PyTorch. Where PyTorch has no
 * op of the same work, there is none beside it.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.executable=java -Dexec.classpathScope=test \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *     -Dbench.out=src/test/results/cuda -Dbench.commit=$(git rev-parse --short HEAD) -cp %classpath \
 *     org.mixedgpu.backend.bench.CudaOpsBenchmark python3 4"
 * </pre>
 *
 * Arguments: a Python with PyTorch, or {@code -} for none; how many turns; and, if wanted, parts of
 * the names of the ops to run, with commas, and {@code small} for sizes that try the benchmark
 * itself.
 */
public final class CudaOpsBenchmark {
  /** Of each turn. */
  static final int SAMPLES = 3;

  private static final int HEADS = 32;
  private static final int KV_HEADS = 8;
  private static final int HEAD = 128;

  private final TrainingBackend b;
  private final boolean small;
  private final List<OpCase> cases = new ArrayList<>();

  private CudaOpsBenchmark(TrainingBackend b, boolean small) {
    this.b = b;
    this.small = small;
  }

  public static void main(String[] args) {
    int rounds = Integer.parseInt(args[1]);
    String[] parts = args.length > 2 ? args[2].split(",") : new String[] {""};
    boolean small = args.length > 3 && args[3].equals("small");
    TorchGpu python = args[0].equals("-") ? null : new TorchGpu(args[0]);
    try (TrainingBackend backend = TestDevice.open(DType.BF16)) {
      Results results =
          new Results(
              "ops",
              "CudaOpsBenchmark " + String.join(" ", args),
              python == null ? Map.of("device", backend.name()) : python.machine());
      CudaOpsBenchmark benchmark = new CudaOpsBenchmark(backend, small);
      benchmark.define();
      double copy = benchmark.copy(python, results, rounds);
      for (OpCase one : benchmark.cases) {
        if (Arrays.stream(parts).anyMatch(one.name()::contains)) {
          one.run(backend, python, results, rounds, copy);
        }
      }
    } finally {
      if (python != null) {
        python.close();
      }
    }
  }

  /** GB/s of the better of the two device copies. */
  private double copy(TorchGpu python, Results results, int rounds) {
    int elements = size(1 << 30, 1 << 20);
    double work = 2.0 * elements * b.computeType().bytes() / 1e9;
    Samples ours = null;
    Samples theirs = null;
    for (int round = 0; round < rounds; round++) {
      try (DeviceData data = new DeviceData(b)) {
        Tensor in = data.real(elements);
        Tensor out = data.out(elements);
        ours = Samples.seconds(b, () -> b.copy(out, in), SAMPLES).and(ours);
      }
      if (python != null) {
        theirs = TorchGpu.seconds(python.ask("op " + SAMPLES + " copy " + elements)).and(theirs);
      }
    }
    results.speed("copy", ours, theirs, work, OpCase.GBS, "");
    double best = theirs == null ? ours.median() : Math.min(ours.median(), theirs.median());
    return work / best;
  }

  private int size(int full, int trial) {
    return small ? trial : full;
  }

  private void define() {
    int n = size(8192, 128);
    product(Transpose.NT, n, n, n, false);
    product(Transpose.NN, n, n, n, false);
    product(Transpose.TN, n, n, n, true);
    for (int tokens : small ? new int[] {128} : new int[] {4096, 16384, 32768}) {
      attention(tokens);
    }
    for (int rows : small ? new int[] {8} : new int[] {128, 512, 2048}) {
      int[] counts = new int[24];
      Arrays.fill(counts, rows);
      grouped("24 x " + rows, counts);
    }
    grouped("24 skewed", skewed(24, size(24 * 512, 200)));
    norms(size(32768, 64), size(4096, 64));
    swiglu(size(16384, 64), size(14336, 64));
    experts(size(32768, 64), size(2048, 64), 2);
    biasBackward(size(32768, 64), size(4096, 64));
    scatter(size(32768, 64), size(4096, 64), size(32000, 100));
    scatter(size(8192, 64), size(2048, 64), size(32000, 100));
    crossEntropy(size(16384, 64), size(32000, 100));
    optimizer(size(1 << 28, 1 << 12));
  }

  private void product(Transpose transpose, int m, int n, int k, boolean gradient) {
    cases.add(
        new OpCase(
            "gemm " + transpose + (gradient ? " into F32 gradient " : " ") + n,
            String.format(Locale.ROOT, "gemm %s %d %d %d", transpose, m, n, k),
            2e-12 * m * n * k,
            OpCase.TFLOPS,
            data -> {
              Tensor a = transpose == Transpose.TN ? data.real(k, m) : data.real(m, k);
              Tensor w = transpose == Transpose.NT ? data.real(n, k) : data.real(k, n);
              Tensor out = gradient ? data.out32(m, n) : data.out(m, n);
              return () -> b.matmul(out, a, w, transpose, gradient ? 1 : 0);
            }));
  }

  private void attention(int tokens) {
    AttentionShape shape =
        new AttentionShape(1, HEADS, KV_HEADS, HEAD, (float) (1 / Math.sqrt(HEAD)), 0);
    // Half of the square, two products forward, five backward.
    double forward = 2e-12 * tokens * tokens * HEADS * HEAD;
    String command = "attention " + tokens + " " + HEADS + " " + KV_HEADS + " " + HEAD;
    cases.add(
        new OpCase(
            "attention forward " + tokens,
            command + " 0",
            forward,
            OpCase.TFLOPS,
            data -> {
              Attention t = new Attention(data, tokens);
              return () -> b.attention(t.out, t.logSumExp, t.q, t.k, t.v, shape);
            }));
    cases.add(
        new OpCase(
            "attention backward " + tokens,
            command + " 1",
            2.5 * forward,
            OpCase.TFLOPS,
            data -> {
              Attention t = new Attention(data, tokens);
              b.attention(t.out, t.logSumExp, t.q, t.k, t.v, shape);
              Tensor dOut = data.real(tokens, HEADS * HEAD);
              Tensor dQ = data.out(tokens, HEADS * HEAD);
              Tensor dK = data.out(tokens, KV_HEADS * HEAD);
              Tensor dV = data.out(tokens, KV_HEADS * HEAD);
              return () ->
                  b.attentionBackward(dQ, dK, dV, dOut, t.q, t.k, t.v, t.out, t.logSumExp, shape);
            }));
  }

  private static final class Attention {
    final Tensor q;
    final Tensor k;
    final Tensor v;
    final Tensor out;
    final Tensor logSumExp;

    Attention(DeviceData data, int tokens) {
      q = data.real(tokens, HEADS * HEAD);
      k = data.real(tokens, KV_HEADS * HEAD);
      v = data.real(tokens, KV_HEADS * HEAD);
      out = data.out(tokens, HEADS * HEAD);
      logSumExp = data.out32(tokens, HEADS);
    }
  }

  /** Weights fall as 1/i; one expert gets nothing. */
  private static int[] skewed(int experts, int rows) {
    int[] counts = new int[experts];
    double sum = 0;
    for (int e = 1; e < experts; e++) {
      sum += 1.0 / e;
    }
    int left = rows;
    for (int e = 1; e < experts; e++) {
      // In an order that does not put the largest first.
      int at = e * 7 % experts;
      counts[at] = (int) (rows / (e * sum));
      left -= counts[at];
    }
    counts[7] += left;
    return counts;
  }

  private void grouped(String name, int[] counts) {
    int k = size(1024, 64);
    int n = size(3584, 64);
    int experts = counts.length;
    int rows = Arrays.stream(counts).sum();
    int[] offsets = new int[experts + 1];
    for (int e = 0; e < experts; e++) {
      offsets[e + 1] = offsets[e] + counts[e];
    }
    String arguments =
        k
            + " "
            + n
            + " "
            + Arrays.stream(counts).mapToObj(Integer::toString).collect(Collectors.joining(","));
    double work = 2e-12 * rows * n * k;
    cases.add(
        new OpCase(
            "grouped forward " + name,
            "grouped forward " + arguments,
            work,
            OpCase.TFLOPS,
            data -> {
              Tensor w = data.real(experts, n, k);
              Tensor x = data.real(rows, k);
              Tensor y = data.out(rows, n);
              Tensor at = data.i32(offsets, experts + 1);
              return () -> b.groupedMatmul(y, x, w, at, Transpose.NT);
            }));
    cases.add(
        new OpCase(
            "grouped data gradient " + name,
            "grouped data " + arguments,
            work,
            OpCase.TFLOPS,
            data -> {
              Tensor w = data.real(experts, n, k);
              Tensor dY = data.real(rows, n);
              Tensor dX = data.out(rows, k);
              Tensor at = data.i32(offsets, experts + 1);
              return () -> b.groupedMatmul(dX, dY, w, at, Transpose.NN);
            }));
    weightGradient("grouped weight gradient " + name, "weight ", arguments, work, offsets, false);
    weightGradient(
        "grouped weight gradient, added in F32, " + name,
        "weight32 ",
        arguments,
        work,
        offsets,
        true);
  }

  /** Overwriting F32 beside overwriting BF16, and adding to F32 beside a product that is added. */
  private void weightGradient(
      String name,
      String command,
      String arguments,
      double work,
      int[] offsets,
      boolean accumulate) {
    int k = size(1024, 64);
    int n = size(3584, 64);
    int experts = offsets.length - 1;
    int rows = offsets[experts];
    cases.add(
        new OpCase(
            name,
            "grouped " + command + arguments,
            work,
            OpCase.TFLOPS,
            data -> {
              Tensor dW = data.out32(experts, n, k);
              Tensor dY = data.real(rows, n);
              Tensor x = data.real(rows, k);
              Tensor at = data.i32(offsets, experts + 1);
              return () -> b.groupedMatmulWeightGradient(dW, dY, x, at, accumulate);
            }));
  }

  private double gigabytes(double elements, int passes) {
    return elements * passes * b.computeType().bytes() / 1e9;
  }

  private void moved(
      String name, String torch, double gigabytes, Function<DeviceData, Runnable> op) {
    cases.add(new OpCase(name, torch, gigabytes, OpCase.GBS, op));
  }

  private void norms(int rows, int width) {
    double elements = (double) rows * width;
    moved(
        "rmsNorm",
        "rms_norm " + rows + " " + width + " 0",
        gigabytes(elements, 2),
        data -> {
          Tensor x = data.real(rows, width);
          Tensor out = data.out(rows, width);
          Tensor inverse = data.out32(rows);
          Tensor gain = data.f32(width);
          return () -> b.rmsNorm(out, inverse, x, gain, 1e-5f);
        });
    moved(
        "rmsNorm backward",
        "rms_norm " + rows + " " + width + " 1",
        gigabytes(elements, 3),
        data -> {
          Tensor x = data.real(rows, width);
          Tensor out = data.out(rows, width);
          Tensor dOut = data.real(rows, width);
          Tensor inverse = data.out32(rows);
          Tensor gain = data.f32(width);
          Tensor dGain = data.out32(width);
          b.rmsNorm(out, inverse, x, gain, 1e-5f);
          return () -> b.rmsNormBackward(out, dGain, dOut, x, gain, inverse);
        });
    int heads = Math.max(1, width / HEAD);
    int head = width / heads;
    moved(
        "rope",
        "rope " + rows + " " + heads + " " + head,
        gigabytes(elements, 2),
        data -> {
          Tensor x = data.real(rows, width);
          Tensor cos = data.f32(rows, head / 2);
          Tensor sin = data.f32(rows, head / 2);
          return () -> b.rope(x, head, cos, sin, 0, rows, false);
        });
    moved(
        "add",
        "add " + (int) elements,
        gigabytes(elements, 3),
        data -> {
          Tensor x = data.real(rows, width);
          Tensor y = data.real(rows, width);
          Tensor out = data.out(rows, width);
          return () -> b.add(out, x, y);
        });
  }

  private void swiglu(int rows, int width) {
    double elements = (double) rows * width;
    moved(
        "swiglu",
        "swiglu " + rows + " " + width + " 0",
        gigabytes(elements, 3),
        data -> {
          Tensor gate = data.real(rows, width);
          Tensor up = data.real(rows, width);
          Tensor out = data.out(rows, width);
          return () -> b.swiglu(out, gate, up);
        });
    moved(
        // PyTorch keeps the product from the forward pass and does not write it here.
        "swiglu backward, product again",
        "swiglu " + rows + " " + width + " 1",
        gigabytes(elements, 6),
        data -> {
          Tensor gate = data.real(rows, width);
          Tensor up = data.real(rows, width);
          Tensor dOut = data.real(rows, width);
          Tensor dGate = data.out(rows, width);
          Tensor dUp = data.out(rows, width);
          Tensor product = data.out(rows, width);
          return () -> b.swigluBackward(dGate, dUp, product, dOut, gate, up);
        });
  }

  private void experts(int rows, int hidden, int k) {
    String size = rows + " " + hidden + " " + k;
    double elements = (double) rows * hidden;
    moved(
        "gatherRows of dispatch",
        "gather " + size,
        // A row is read once for each of its choices.
        gigabytes(elements, 2 * k),
        data -> {
          Tensor x = data.real(rows, hidden);
          Tensor out = data.out((long) rows * k, hidden);
          int[] order = data.permutation(rows * k);
          Arrays.setAll(order, i -> order[i] / k);
          Tensor index = data.i32(order, order.length);
          return () -> b.gatherRows(out, x, index);
        });
    moved(
        "combineRows",
        "combine " + size,
        gigabytes(elements, k + 1),
        data -> {
          Tensor out = data.out(rows, hidden);
          Tensor slots = data.real((long) rows * k, hidden);
          Tensor slotOf = data.i32(data.permutation(rows * k), rows, k);
          Tensor weights = data.f32(rows, k);
          return () -> b.combineRows(out, slots, slotOf, weights, false);
        });
    moved(
        "combineRows backward",
        null,
        gigabytes(elements, 2 * k + 1),
        data -> {
          Tensor dOut = data.real(rows, hidden);
          Tensor slots = data.real((long) rows * k, hidden);
          Tensor dSlots = data.out((long) rows * k, hidden);
          Tensor slotOf = data.i32(data.permutation(rows * k), rows, k);
          Tensor weights = data.f32(rows, k);
          Tensor dWeights = data.out32(rows, k);
          return () -> b.combineRowsBackward(dSlots, dWeights, dOut, slots, slotOf, weights);
        });
  }

  private void biasBackward(int rows, int width) {
    moved(
        "addBiasBackward",
        "bias_backward " + rows + " " + width,
        gigabytes((double) rows * width, 1),
        data -> {
          Tensor dOut = data.real(rows, width);
          Tensor dBias = data.out32(width);
          return () -> b.addBiasBackward(dBias, dOut);
        });
  }

  /** The embedding's gradient: of tokens that are all as frequent, and of some that come often. */
  private void scatter(int rows, int width, int vocabulary) {
    Random random = new Random(1);
    for (boolean text : new boolean[] {false, true}) {
      int[] ids = new int[rows];
      // The i-th token of a text is about 1 / i as frequent as the first.
      Arrays.setAll(
          ids,
          i ->
              text
                  ? (int) Math.pow(vocabulary, random.nextDouble()) - 1
                  : random.nextInt(vocabulary));
      long touched = Arrays.stream(ids).distinct().count();
      moved(
          "scatterAddRows " + rows + " x " + width + (text ? ", as in text" : ", even"),
          String.format("scatter %d %d %d %d", rows, width, vocabulary, text ? 1 : 0),
          // Gradients read; rows of the F32 table that tokens name read and written.
          gigabytes((double) rows * width, 1) + 2e-9 * touched * width * Float.BYTES,
          data -> {
            Tensor table = data.out32(vocabulary, width);
            Tensor dOut = data.real(rows, width);
            Tensor index = data.i32(ids, rows);
            return () -> b.scatterAddRows(table, dOut, index);
          });
    }
  }

  private void crossEntropy(int rows, int vocabulary) {
    moved(
        "crossEntropy",
        "cross_entropy " + rows + " " + vocabulary,
        gigabytes((double) rows * vocabulary, 2),
        data -> {
          Tensor logits = data.real(rows, vocabulary);
          Tensor loss = data.out32(rows);
          Tensor targets = data.indexes(vocabulary, rows);
          return () -> b.crossEntropy(loss, logits, logits, targets, 1f / rows);
        });
  }

  private void optimizer(int elements) {
    boolean wide = b.computeType() == DType.F32;
    moved(
        "adamW",
        "adamw " + elements,
        // Four F32 read, three written, and the working copy.
        elements * (7.0 * Float.BYTES + (wide ? 0 : b.computeType().bytes())) / 1e9,
        data -> {
          Tensor param = data.f32(elements);
          Tensor first = data.f32(elements);
          Tensor second = data.out32(elements);
          Tensor gradient = data.f32(elements);
          Tensor working = wide ? null : data.out(elements);
          AdamWStep step = new AdamWStep(1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, 10, 1f);
          return () -> b.adamW(param, first, second, gradient, working, step);
        });
    moved(
        "sumSquares",
        null,
        elements * (double) Float.BYTES / 1e9,
        data -> {
          Tensor x = data.f32(elements);
          Tensor out = data.out32(1);
          return () -> b.sumSquares(out, x);
        });
    moved(
        "fill",
        null,
        elements * (double) Float.BYTES / 1e9,
        data -> {
          Tensor x = data.out32(elements);
          return () -> b.fill(x, 0);
        });
  }
}

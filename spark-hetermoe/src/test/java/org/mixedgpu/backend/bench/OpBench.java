package org.mixedgpu.backend.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.backend.AttentionShape;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * Each op of the CPU backend beside PyTorch's, on the same threads, in turns: the ratio above 1
 * means faster than PyTorch. Prints milliseconds (the best of all repeats) and ratios.
 *
 * <pre>
 * mvn -q -pl spark-hetermoe test-compile exec:exec -Dexec.classpathScope=test -Dexec.executable=java \
 *   -Dexec.args="--add-modules=jdk.incubator.vector --add-opens=java.base/java.nio=ALL-UNNAMED \
 *   -Xmx2g -XX:MaxDirectMemorySize=4g -cp %classpath org.mixedgpu.backend.bench.OpBench python3 2"
 * </pre>
 *
 * Arguments: a Python with PyTorch (or {@code -} for none), the number of threads, and, if wanted,
 * a part of the names of the ops to run.
 */
public final class OpBench {
  private static final int ROUNDS = 2;
  private static final long SLICE_NANOS = 400_000_000L;

  private final TrainingBackend b;
  private final Random random = new Random(1);
  private final List<Tensor> open = new ArrayList<>();
  private final Map<String, Runnable> ops = new LinkedHashMap<>();
  private final int threads;
  private final String part;

  private OpBench(TrainingBackend backend, int threads, String part) {
    this.threads = threads;
    this.b = backend;
    this.part = part;
  }

  public static void main(String[] args) throws IOException {
    int threads = Integer.parseInt(args[1]);
    String part = args.length > 2 ? args[2] : "";
    try (TrainingBackend backend = Backends.cpu(new CpuOptions(threads, Long.MAX_VALUE))) {
      System.out.println(backend.name());
      OpBench bench = new OpBench(backend, threads, part);
      bench.define();
      Map<String, Double> ours = new LinkedHashMap<>();
      Map<String, Double> torch = new LinkedHashMap<>();
      for (int round = 0; round < ROUNDS; round++) {
        bench.run(ours);
        if (!args[0].equals("-")) {
          torch(args[0], threads, part, torch);
        }
      }
      ours.forEach(
          (name, ms) -> {
            Double other = torch.get(name);
            System.out.printf(
                Locale.ROOT,
                "%-28s %9.3f ms %s%n",
                name,
                ms,
                other == null
                    ? ""
                    : String.format(Locale.ROOT, " torch %9.3f ms  ratio %.2f", other, other / ms));
          });
      bench.open.forEach(Tensor::close);
    }
  }

  private void define() {
    int rows = 1024;
    int hidden = 768;
    products(rows, hidden, hidden);
    products(rows, 4 * hidden, hidden);
    grouped(2 * rows, hidden, 1024, 8);
    attention(1, 12, 12, 64, rows);
    attention(1, 12, 2, 64, rows);
    attention(8, 12, 12, 64, 128);
    norms(rows, hidden);
    swiglu(rows, 4 * hidden);
    crossEntropy(256, 32000);
    embedding(rows, hidden, 32000);
    experts(rows, hidden, 64, 4);
    optimizer(25_000_000);
  }

  private void norms(int rows, int hidden) {
    Tensor x = f32(rows, hidden);
    Tensor y = f32(rows, hidden);
    Tensor out = f32(rows, hidden);
    Tensor gain = f32(hidden);
    Tensor dGain = f32(hidden);
    Tensor inverse = f32(rows);
    op("rmsnorm", () -> b.rmsNorm(out, inverse, x, gain, 1e-5f));
    op("rmsnorm backward", () -> b.rmsNormBackward(out, dGain, y, x, gain, inverse));
    op("add", () -> b.add(out, x, y));
    Tensor cos = f32(rows, 32);
    Tensor sin = f32(rows, 32);
    op("rope", () -> b.rope(y, 64, cos, sin, 0, rows, false));
  }

  private void swiglu(int rows, int ffn) {
    Tensor gate = f32(rows, ffn);
    Tensor up = f32(rows, ffn);
    Tensor wide = f32(rows, ffn);
    Tensor dGate = f32(rows, ffn);
    Tensor dUp = f32(rows, ffn);
    op("swiglu", () -> b.swiglu(wide, gate, up));
    Tensor product = f32(rows, ffn);
    op("swiglu backward", () -> b.swigluBackward(dGate, dUp, product, wide, gate, up));
  }

  private void crossEntropy(int rows, int vocabulary) {
    if (wanted("cross entropy")) {
      Tensor logits = f32(rows, vocabulary);
      Tensor dLogits = f32(rows, vocabulary);
      Tensor loss = f32(rows);
      Tensor targets = i32(vocabulary, rows);
      op("cross entropy", () -> b.crossEntropy(loss, dLogits, logits, targets, 1f));
    }
  }

  private void embedding(int rows, int hidden, int vocabulary) {
    if (wanted("embedding backward")) {
      Tensor table = f32(vocabulary, hidden);
      Tensor ids = i32(vocabulary, rows);
      Tensor out = f32(rows, hidden);
      op("embedding", () -> b.gatherRows(out, table, ids));
      op("embedding backward", () -> b.scatterAddRows(table, out, ids));
    }
  }

  private void experts(int rows, int hidden, int count, int k) {
    Tensor x = f32(rows, hidden);
    Tensor out = f32(rows, hidden);
    Tensor router = f32(rows, count);
    Tensor probs = f32(rows, count);
    Tensor weights = f32(rows, k);
    Tensor experts = i32(count, rows, k);
    Tensor slotOf = tensor(DType.I32, rows, k);
    Tensor rowOf = tensor(DType.I32, rows * k);
    Tensor offsets = tensor(DType.I32, count + 1);
    Tensor slots = f32(rows * k, hidden);
    b.sortByExpert(slotOf, rowOf, offsets, experts);
    op("router top-4 of 64", () -> b.routerTopK(probs, weights, experts, router, true));
    op("sort by expert", () -> b.sortByExpert(slotOf, rowOf, offsets, experts));
    op("dispatch", () -> b.gatherRows(slots, x, rowOf));
    op("combine", () -> b.combineRows(out, slots, slotOf, weights, false));
  }

  private void optimizer(int parameters) {
    if (wanted("adamw 25M sum of squares 25M fill 25M")) {
      Tensor p = f32(parameters);
      Tensor m = f32(parameters);
      Tensor v = tensor(DType.F32, parameters);
      Tensor g = f32(parameters);
      AdamWStep step = new AdamWStep(1e-4f, 0.9f, 0.95f, 1e-8f, 0.1f, 10, 1f);
      op("adamw 25M", () -> b.adamW(p, m, v, g, null, step));
      Tensor norm = f32(1);
      op("sum of squares 25M", () -> b.sumSquares(norm, g));
      op("fill 25M", () -> b.fill(g, 0f));
    }
  }

  private boolean wanted(String names) {
    return names.contains(part);
  }

  private void products(int m, int n, int k) {
    String size = m + "x" + n + "x" + k;
    Tensor x = f32(m, k);
    Tensor w = f32(n, k);
    Tensor y = f32(m, n);
    Tensor dX = f32(m, k);
    Tensor dW = f32(n, k);
    op("linear " + size, () -> b.matmul(y, x, w, Transpose.NT, 0f));
    op("linear dx " + size, () -> b.matmul(dX, y, w, Transpose.NN, 0f));
    op("linear dw " + size, () -> b.matmul(dW, y, x, Transpose.TN, 1f));
  }

  private void grouped(int rows, int k, int n, int experts) {
    Tensor x = f32(rows, k);
    Tensor w = f32(experts, n, k);
    Tensor y = f32(rows, n);
    Tensor offsets = tensor(DType.I32, experts + 1);
    ByteBuffer bytes = ByteBuffer.allocate(4 * (experts + 1)).order(ByteOrder.LITTLE_ENDIAN);
    for (int e = 0; e <= experts; e++) {
      bytes.putInt(rows * e / experts);
    }
    b.write(offsets, bytes.flip());
    op("experts 8 of 256 rows", () -> b.groupedMatmul(y, x, w, offsets, Transpose.NT));
  }

  private void attention(int batch, int heads, int kvHeads, int d, int t) {
    String size = batch + "x" + heads + "/" + kvHeads + "x" + d + "x" + t;
    AttentionShape shape =
        new AttentionShape(batch, heads, kvHeads, d, (float) (1 / Math.sqrt(d)), 0);
    Tensor q = f32(batch * t, heads * d);
    Tensor k = f32(batch * t, kvHeads * d);
    Tensor v = f32(batch * t, kvHeads * d);
    Tensor out = f32(batch * t, heads * d);
    Tensor lse = f32(batch * t, heads);
    Tensor dOut = f32(batch * t, heads * d);
    Tensor dQ = f32(batch * t, heads * d);
    Tensor dK = f32(batch * t, kvHeads * d);
    Tensor dV = f32(batch * t, kvHeads * d);
    op("attention " + size, () -> b.attention(out, lse, q, k, v, shape));
    op(
        "attention bw " + size,
        () -> b.attentionBackward(dQ, dK, dV, dOut, q, k, v, out, lse, shape));
  }

  private void op(String name, Runnable op) {
    if (wanted(name)) {
      ops.put(name, op);
    }
  }

  private void run(Map<String, Double> best) {
    ops.forEach(
        (name, op) -> {
          op.run();
          long end = System.nanoTime() + SLICE_NANOS;
          double fastest = best.getOrDefault(name, Double.MAX_VALUE);
          for (int i = 0; i < 3 || System.nanoTime() < end; i++) {
            long start = nanos();
            op.run();
            fastest = Math.min(fastest, (nanos() - start) / 1e6);
          }
          best.put(name, fastest);
        });
  }

  /** With one thread its CPU time, which other work on the machine hardly disturbs. */
  private long nanos() {
    return threads == 1
        ? ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime()
        : System.nanoTime();
  }

  private static void torch(String python, int threads, String part, Map<String, Double> best)
      throws IOException {
    Path script = Files.createTempFile("torch_ops", ".py");
    try (InputStream in = OpBench.class.getResourceAsStream("torch_ops.py")) {
      Files.copy(in, script, StandardCopyOption.REPLACE_EXISTING);
    }
    Process process =
        new ProcessBuilder(
                Arrays.asList(python, script.toString(), Integer.toString(threads), part))
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = lines.readLine(); line != null; line = lines.readLine()) {
        String[] fields = line.split("\t");
        best.merge(fields[0], Double.valueOf(fields[1]), Math::min);
      }
    }
    Files.delete(script);
  }

  private Tensor tensor(DType type, long... dims) {
    Tensor tensor = b.allocate(type, Shape.of(dims));
    open.add(tensor);
    return tensor;
  }

  private Tensor f32(long... dims) {
    Tensor tensor = tensor(DType.F32, dims);
    ByteBuffer bytes = ByteBuffer.allocate((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    while (bytes.hasRemaining()) {
      bytes.putFloat(random.nextFloat() - 0.5f);
    }
    b.write(tensor, bytes.flip());
    return tensor;
  }

  private Tensor i32(int bound, long... dims) {
    Tensor tensor = tensor(DType.I32, dims);
    ByteBuffer bytes = ByteBuffer.allocate((int) tensor.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    while (bytes.hasRemaining()) {
      bytes.putInt(random.nextInt(bound));
    }
    b.write(tensor, bytes.flip());
    return tensor;
  }
}

package org.mixedgpu.nn.bench;

import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.base.Intercepted;
import org.mixedgpu.tensor.Tensor;

/** A backend that adds up the processor time of the calling thread for each op and shape. */
final class OpTimes {
  private final Map<String, long[]> nanosAndCalls = new LinkedHashMap<>();
  private final TrainingBackend timed;

  OpTimes(TrainingBackend backend) {
    timed = Intercepted.over(TrainingBackend.class, backend, this::call);
  }

  TrainingBackend backend() {
    return timed;
  }

  private Object call(String method, Object[] args, Intercepted.Call call) throws Throwable {
    long start = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    try {
      return call.proceed();
    } finally {
      long nanos = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() - start;
      long[] sum = nanosAndCalls.computeIfAbsent(describe(method, args), name -> new long[2]);
      sum[0] += nanos;
      sum[1]++;
    }
  }

  private static String describe(String method, Object[] args) {
    if (args.length == 0) {
      return method;
    }
    return method
        + Arrays.stream(args)
            .filter(a -> a instanceof Tensor || a instanceof Enum)
            .limit(4)
            .map(a -> a instanceof Tensor ? ((Tensor) a).shape().toString() : a.toString())
            .collect(Collectors.joining(" ", " ", ""));
  }

  void clear() {
    nanosAndCalls.clear();
  }

  void print(PrintStream out, int rounds) {
    long total = nanosAndCalls.values().stream().mapToLong(v -> v[0]).sum();
    out.printf(Locale.ROOT, "  all ops %.1f ms%n", total / 1e6 / rounds);
    nanosAndCalls.entrySet().stream()
        .sorted((a, b) -> Long.compare(b.getValue()[0], a.getValue()[0]))
        .limit(24)
        .forEach(
            e ->
                out.printf(
                    Locale.ROOT,
                    "  %8.1f ms %5d x %s%n",
                    e.getValue()[0] / 1e6 / rounds,
                    e.getValue()[1] / rounds,
                    e.getKey()));
  }
}

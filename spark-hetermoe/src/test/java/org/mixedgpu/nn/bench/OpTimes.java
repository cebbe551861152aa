package org.mixedgpu.nn.bench;

import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.Tensor;

/** A backend that adds up the processor time of the calling thread for each op and shape. */
final class OpTimes {
  private final Map<String, long[]> nanosAndCalls = new LinkedHashMap<>();
  private final TrainingBackend timed;

  OpTimes(TrainingBackend backend) {
    timed =
        (TrainingBackend)
            Proxy.newProxyInstance(
                OpTimes.class.getClassLoader(),
                new Class<?>[] {TrainingBackend.class},
                (proxy, method, args) -> call(backend, method, args));
  }

  TrainingBackend backend() {
    return timed;
  }

  private Object call(TrainingBackend backend, Method method, Object[] args) throws Throwable {
    long start = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
    try {
      return method.invoke(backend, args);
    } catch (InvocationTargetException e) {
      throw e.getCause();
    } finally {
      long nanos = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() - start;
      long[] sum = nanosAndCalls.computeIfAbsent(describe(method, args), name -> new long[2]);
      sum[0] += nanos;
      sum[1]++;
    }
  }

  private static String describe(Method method, Object[] args) {
    if (args == null) {
      return method.getName();
    }
    return method.getName()
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

package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.backend.RoundingBackend;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.DType;

/**
 * Ten training steps on a GPU and on the CPU, from the same weights and batches: every loss must
 * agree. {@code -Dmixedgpu.test.backend=rounding} tries the tests without a GPU; {@link
 * GpuGoldenTest} has the command.
 *
 * <p>The setting {@code experts} is unstable: its routers have not settled, so that one choice that
 * rounding changes leads to others, within ten steps to every fifth. PyTorch's BF16 is there up to
 * 4e-3 from its own F32, and its F32 up to 2e-4 from ours. So BF16 is held to its bound there with
 * the CPU's choices, and without them to what exact rounding makes of the same steps.
 */
@Tag("gpu")
class GpuAgainstCpuTest {
  private static final int STEPS = TenSteps.STEPS;

  /** Runs whose differences are taken together, for those of one run vary by a factor of 2. */
  private static final int SEEDS = 4;

  private record Exact(double[] losses, SameChoices choices) {}

  /** Losses and choices in F32 on the CPU, by setting and seed. */
  private static final Map<String, Exact> EXACT = new ConcurrentHashMap<>();

  private enum Choices {
    /** The device's own. */
    OWN,
    /** The CPU's. */
    GIVEN
  }

  @ParameterizedTest
  @CsvSource({
    "defaults, OWN, F32, 4, 1e-5",
    "defaults, OWN, BF16, 4, 1e-3",
    "dense, OWN, F32, 1, 1e-5",
    "dense, OWN, BF16, 1, 1e-3",
    "experts, OWN, F32, 1, 1e-5",
    "experts, GIVEN, F32, 4, 1e-5",
    "experts, GIVEN, BF16, 4, 1e-3"
  })
  void lossesOfTenStepsAgree(
      String name, Choices choices, DType type, int seeds, double tolerance) {
    for (int seed = 1; seed <= seeds; seed++) {
      TenSteps run = TenSteps.named(name, seed);
      double[] cpu = exact(run).losses;
      double[] gpu = losses(run, TestDevice.open(type), choices);
      print(name + ", choices " + choices + ", " + type, cpu, gpu);
      assertThat(cpu[STEPS - 1]).as("the model must learn").isLessThan(cpu[0]);
      for (int step = 0; step < STEPS; step++) {
        assertThat(gpu[step])
            .as("seed %d, loss of step %d", seed, step)
            .isCloseTo(cpu[step], within(tolerance * cpu[step]));
      }
    }
  }

  /** A test of kernels alone, where the bounds above are of BF16 too. */
  @ParameterizedTest
  @CsvSource({"defaults, OWN", "experts, OWN", "experts, GIVEN"})
  void inBf16ItIsNotFurtherThanTwiceExactRounding(String name, Choices choices) {
    List<TenSteps> runs =
        IntStream.rangeClosed(1, SEEDS).mapToObj(seed -> TenSteps.named(name, seed)).toList();
    double[] cpu = runs.stream().flatMapToDouble(r -> Arrays.stream(exact(r).losses)).toArray();
    double[] gpu =
        runs.stream()
            .flatMapToDouble(r -> Arrays.stream(losses(r, TestDevice.open(DType.BF16), choices)))
            .toArray();
    // Slow, on two cores each.
    double[] rounded =
        runs.parallelStream()
            .map(r -> losses(r, new RoundingBackend(DType.BF16), choices))
            .flatMapToDouble(Arrays::stream)
            .toArray();
    print(name + ", choices " + choices + ", BF16", cpu, gpu);
    print(name + ", choices " + choices + ", exact rounding", cpu, rounded);
    assertThat(rms(cpu, gpu)).isPositive().isLessThan(2 * rms(cpu, rounded));
  }

  private static Exact exact(TenSteps run) {
    return EXACT.computeIfAbsent(
        run.name() + run.seed(),
        key -> {
          SameChoices choices = new SameChoices();
          try (TrainingBackend backend = choices.recording(Backends.cpu(CpuOptions.allCores()))) {
            return new Exact(run.losses(backend), choices);
          }
        });
  }

  /** Closes the device. */
  private static double[] losses(TenSteps run, TrainingBackend device, Choices choices) {
    SameChoices given = exact(run).choices;
    try (TrainingBackend backend =
        choices == Choices.OWN ? device : given.repeating(device, new SameChoices())) {
      return run.losses(backend);
    }
  }

  private static double rms(double[] exact, double[] other) {
    double squares = 0;
    for (double difference : differences(exact, other)) {
      squares += difference * difference;
    }
    return Math.sqrt(squares / exact.length);
  }

  private static double[] differences(double[] exact, double[] other) {
    double[] relative = new double[exact.length];
    Arrays.setAll(relative, i -> other[i] / exact[i] - 1);
    return relative;
  }

  private static void print(String what, double[] exact, double[] other) {
    double[] relative = differences(exact, other);
    System.out.printf(
        Locale.ROOT,
        "%s: losses differ by at most %.2e, RMS %.2e, relative:%s%n",
        what,
        Arrays.stream(relative).map(Math::abs).max().orElseThrow(),
        rms(exact, other),
        Arrays.stream(relative)
            .mapToObj(x -> String.format(Locale.ROOT, " %.1e", x))
            .collect(Collectors.joining()));
  }
}

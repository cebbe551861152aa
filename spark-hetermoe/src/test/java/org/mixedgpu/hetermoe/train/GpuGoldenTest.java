package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.hetermoe.train.verify.TrainingVerification;
import org.mixedgpu.io.MemoryFileStore;
import org.mixedgpu.nn.Golden;
import org.mixedgpu.nn.GoldenFiles;
import org.mixedgpu.nn.checkpoint.Checkpoint;
import org.mixedgpu.nn.verify.Compared;
import org.mixedgpu.nn.verify.ModelVerification;
import org.mixedgpu.tensor.DType;

/**
 * All golden models in F32 on a GPU: logits, keys and values, and the recorded training runs.
 *
 * <pre>
 * ./mvnw -pl spark-hetermoe test -Dtest=GpuGoldenTest -Dtest.groups=gpu -Dtest.excludedGroups=
 * </pre>
 */
@Tag("gpu")
class GpuGoldenTest {
  private static final double TOLERANCE = 1e-4;

  /** On losses after a fork, relative. */
  private static final double NEAR = 1e-3;

  private static final int SURE_STEPS = 6;
  private static final Pattern STEP = Pattern.compile("(loss|norm|gradient) (\\d+)$");

  private static TrainingBackend backend;

  @BeforeAll
  static void open() {
    backend = TestDevice.open(DType.F32);
  }

  @AfterAll
  static void close() {
    backend.close();
  }

  static List<String> trained() {
    return Golden.cases().stream().filter(Golden::isTrained).toList();
  }

  @ParameterizedTest
  @MethodSource("org.mixedgpu.nn.Golden#cases")
  void logitsAndCacheAgreeWithTransformers(String name) {
    List<Compared> found = new ArrayList<>();
    ModelVerification.run(
        GoldenFiles.of(name),
        "/" + name,
        "/" + name + "/golden.safetensors",
        backend,
        TOLERANCE,
        found::add);
    assertThat(found).hasSizeGreaterThan(2).allMatch(Compared::within);
  }

  /**
   * A router's choice is a jump: where two experts are nearly equal, rounding decides, and from
   * there two correct runs are different runs. The recorded batches have no such call before {@link
   * #SURE_STEPS}; a mixture of experts that forks later must stay near, all else agree to the end.
   */
  @ParameterizedTest
  @MethodSource("trained")
  void trainingAgreesWithPyTorch(String name) {
    MemoryFileStore files = GoldenFiles.of(name);
    List<Compared> found = new ArrayList<>();
    TrainingVerification.run(
        files,
        "/" + name,
        "/" + name + "/golden.safetensors",
        "/" + name + "/train.json",
        backend,
        TOLERANCE,
        found::add);
    boolean experts = Checkpoint.config(files, "/" + name).moe().isPresent();
    assertThat(found).hasSizeGreaterThan(20);
    for (Compared one : found) {
      Matcher step = STEP.matcher(one.name());
      if (!experts || (step.find() && Integer.parseInt(step.group(2)) < SURE_STEPS)) {
        assertThat(one.within()).as("%s: %s", name, one).isTrue();
      } else if (one.name().startsWith("loss ")) {
        assertThat(one.found()).as("%s: %s", name, one).isLessThan(NEAR);
      }
    }
    found.stream()
        .filter(one -> !one.within())
        .forEach(one -> System.out.println(name + " after a router's fork: " + one));
  }
}

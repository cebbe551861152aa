package org.mixedgpu.hetermoe.train;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.nn.GoldenFiles;
import org.mixedgpu.nn.verify.Compared;
import org.mixedgpu.nn.verify.ModelVerification;
import org.mixedgpu.tensor.DType;

/**
 * All golden models in F32 on a GPU: logits, keys and values.
 *
 * <pre>
 * ./mvnw -pl spark-hetermoe test -Dtest='Gpu*GoldenTest' -Dtest.groups=gpu -Dtest.excludedGroups=
 * </pre>
 */
@Tag("gpu")
class GpuGoldenTest {
  private static final double TOLERANCE = 1e-4;

  private static TrainingBackend backend;

  @BeforeAll
  static void open() {
    backend = TestDevice.open(DType.F32);
  }

  @AfterAll
  static void close() {
    backend.close();
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
}

package org.mixedgpu.backend;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.tensor.DType;

class BackendChoiceTest {
  @Test
  void wordsMakeAChoice() {
    BackendChoice cpu = BackendChoice.of("cpu", "auto", 3, 0);
    assertThat(cpu)
        .isEqualTo(new BackendChoice(BackendKind.CPU, Precision.AUTO, 3, Long.MAX_VALUE));
    assertThat(cpu.summary()).isEqualTo("cpu with 3 threads");
    assertThat(BackendChoice.of("cuda", "bf16", 1, 7).summary()).isEqualTo("cuda in bf16");
    assertThat(BackendChoice.of("cuda", "auto", 1, 7).summary())
        .isEqualTo("cuda in each device's own precision");
  }

  @ParameterizedTest
  @ValueSource(strings = {"bf16", "fp16"})
  void aCpuIsNotAskedForHalfPrecision(String precision) {
    assertThatThrownBy(() -> BackendChoice.of("cpu", precision, 1, 0))
        .hasMessageContaining("precision is " + precision)
        .hasMessageContaining("use precision auto or fp32");
  }

  @Test
  void unknownWordsAreRefused() {
    assertThatThrownBy(() -> BackendChoice.of("gpu", "auto", 1, 0))
        .hasMessage("Backend 'gpu' is not known; use cpu or cuda");
    assertThatThrownBy(() -> BackendChoice.of("cuda", "int8", 1, 0))
        .hasMessage("Precision 'int8' is not known; use auto, bf16, fp16 or fp32");
  }

  @Test
  void everyPrecisionButAutoIsAType() {
    assertThat(Precision.AUTO.type()).isEmpty();
    assertThat(Precision.named("bf16").type()).contains(DType.BF16);
    assertThat(Precision.named("fp16").type()).contains(DType.F16);
    assertThat(Precision.named("fp32").type()).contains(DType.F32);
  }

  @Test
  void theCpuOpensWithThreadsAndLimitWhateverTheGpu() {
    try (TrainingBackend backend =
        BackendChoice.of("cpu", "fp32", 2, 1 << 20).open(OptionalInt.of(4))) {
      assertThat(backend.kind()).isEqualTo(BackendKind.CPU);
      assertThat(backend.computeType()).isEqualTo(DType.F32);
      assertThat(backend.name()).contains("2 threads");
    }
  }
}

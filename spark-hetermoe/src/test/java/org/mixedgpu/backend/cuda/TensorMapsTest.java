package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/** What is refused before the driver is asked. */
class TensorMapsTest {
  @Test
  void sizesStridesAndBoxesMustFitEachOther() {
    refused(() -> map(new long[] {8}, new int[] {8}), "2 to 5 sizes", "1");
    refused(() -> map(new long[] {8, 64}, new int[] {1, 8, 64}), "box sizes", "3");
    refused(() -> map(new long[6], new int[6]), "2 to 5 sizes", "6");
  }

  @Test
  void aBoxIsAtMostAsWideAsItsSwizzle() {
    refused(() -> map(new long[] {8, 256}, new int[] {8, 128}), "BYTES_128", "256 bytes");
    refused(() -> map(new long[] {8, 256}, new int[] {8, 4}), "multiple of 16", "8 bytes");
  }

  private static void map(long[] sizes, int[] box) {
    TensorMaps.dense("GPU 0", DType.BF16, 1 << 20, sizes, box, TensorMaps.Swizzle.BYTES_128);
  }

  private static void refused(Runnable call, String... texts) {
    assertThatThrownBy(call::run)
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContainingAll(texts);
  }
}

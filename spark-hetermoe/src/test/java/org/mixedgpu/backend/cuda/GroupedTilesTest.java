package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.mixedgpu.tensor.DType;

class GroupedTilesTest {
  @ParameterizedTest
  @CsvSource({
    // generation, most shared memory in KiB, type, product, n, k; file and columns of a tile;
    // 999 rows of 24 experts
    "70,  96, F16,  NT, 3584, 1024, grouped_gemm.sm70, 128",
    "70,  96, F16,  NN, 3584, 1024, grouped_gemm.sm70, 128",
    "70,  96, F16,  TN, 3584, 1024, grouped_gemm.sm70, 128",
    "70,  96, F32,  NT, 3584, 1024, grouped_gemm,      128",
    "75,  64, F16,  NT, 3584, 1024, grouped_gemm.sm70, 128",
    "75,  64, F32,  NT, 3584, 1024, grouped_gemm,      128",
    "80, 163, F32,  TN, 3584, 1024, grouped_gemm,      128",
    "80, 163, BF16, NT, 3584, 1024, grouped_gemm.sm70, 256",
    "80, 163, BF16, TN, 3584, 1024, grouped_gemm.sm70, 128",
    "89,  99, BF16, NN, 3584, 1024, grouped_gemm.sm70, 128",
    "90, 227, F32,  NT, 3584, 1024, grouped_gemm,      128",
    "90, 227, BF16, NT, 3584, 1024, grouped_gemm.sm90, 192",
    "90, 227, F16,  NN, 3584, 1024, grouped_gemm.sm90, 256",
    "90, 227, BF16, NT, 14336, 4096, grouped_gemm.sm90, 192",
    "90, 227, BF16, NT, 4096, 14336, grouped_gemm.sm90, 256",
    "90, 227, BF16, TN, 3584, 1024, grouped_gradient.sm90, 256",
    "100, 227, BF16, NT, 3584, 1024, grouped_gemm.sm70, 256",
  })
  void theVariantFollowsFromDeviceTypeAndShape(
      int arch,
      int sharedKib,
      DType type,
      GroupedTiles.Product product,
      int n,
      int k,
      String file,
      int cols) {
    GroupedTiles tiles =
        GroupedTiles.choose(arch, sharedKib << 10, type, true, product, 999, 24, n, k);
    assertThat(tiles.file()).isEqualTo(file);
    assertThat(tiles.cols()).isEqualTo(cols);
    // The barriers of a block's ring are in its static shared memory.
    assertThat(tiles.sharedBytes()).isLessThanOrEqualTo((sharedKib << 10) - 256);
    assertThat(tiles.copied()).isEqualTo(file.endsWith("sm90"));
  }

  @Test
  void whatIsNotAlignedOrHasNoRowsTakesTheKernelForAll() {
    for (GroupedTiles.Product product : GroupedTiles.Product.values()) {
      assertThat(choose(false, product, 999).file()).isEqualTo("grouped_gemm");
      assertThat(choose(true, product, 0).file()).isEqualTo("grouped_gemm");
      assertThat(choose(true, product, 1).file())
          .isEqualTo(
              product == GroupedTiles.Product.TN ? "grouped_gradient.sm90" : "grouped_gemm.sm90");
      assertThat(volta(false, product).file()).isEqualTo("grouped_gemm");
      assertThat(volta(true, product).file()).isEqualTo("grouped_gemm.sm70");
      assertThat(product.function())
          .isEqualTo("grouped_" + product.name().toLowerCase(Locale.ROOT));
    }
  }

  /** Shared memory is for sums on their way out where groups are short, and for the ring else. */
  @Test
  void tilesOfTheWeightGradientFollowFromTheMeanGroup() {
    GroupedTiles few = choose(true, GroupedTiles.Product.TN, 24 * 1024);
    GroupedTiles many = choose(true, GroupedTiles.Product.TN, 24 * 1024 + 1);
    assertThat(few).isEqualTo(choose(true, GroupedTiles.Product.TN, 1)).isNotEqualTo(many);
    assertThat(few.defines()).contains("STAGES=3", "STRIPS=4");
    assertThat(many.defines()).contains("STAGES=4", "STRIPS=2");
  }

  private static GroupedTiles choose(boolean aligned, GroupedTiles.Product product, long rows) {
    return GroupedTiles.choose(90, 227 << 10, DType.BF16, aligned, product, rows, 24, 512, 512);
  }

  private static GroupedTiles volta(boolean aligned, GroupedTiles.Product product) {
    return GroupedTiles.choose(70, 96 << 10, DType.F16, aligned, product, 999, 24, 512, 512);
  }

  /** Registers are 65,536, and no thread of these kernels does with 128. */
  @Test
  void voltasBlocksFitTwice() {
    for (GroupedTiles.Product product : GroupedTiles.Product.values()) {
      GroupedTiles tiles = volta(true, product);
      assertThat(tiles.threads()).isEqualTo(128);
      assertThat(tiles.blocksPerMultiprocessor()).isEqualTo(2);
      assertThat(2 * tiles.sharedBytes()).isLessThan(96 << 10);
      assertThat(tiles.defines()).contains("WARPS_M=2", "WARPS_N=2", "BK=16");
    }
  }

  @Test
  void rowsAndPointersOfSixteenBytesAreAligned() {
    assertThat(GroupedTiles.aligned(DType.BF16, 8, 24, 0x7f0000000010L, 32)).isTrue();
    assertThat(GroupedTiles.aligned(DType.BF16, 12, 24, 16)).isFalse();
    assertThat(GroupedTiles.aligned(DType.BF16, 8, 20, 16)).isFalse();
    assertThat(GroupedTiles.aligned(DType.BF16, 8, 8, 16, 24)).isFalse();
    assertThat(GroupedTiles.aligned(DType.F32, 4, 12, 16)).isTrue();
  }
}

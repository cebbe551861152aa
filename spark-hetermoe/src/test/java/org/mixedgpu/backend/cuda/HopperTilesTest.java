package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.mixedgpu.backend.AttentionShape;

class HopperTilesTest {
  private static final int SHARED_BYTES = 227 << 10;
  private static final int MULTIPROCESSORS = 132;

  @Test
  void allFitIntoTheSharedMemoryOfABlock() {
    for (int headDim : new int[] {64, 128}) {
      for (AttentionPass pass : AttentionPass.values()) {
        assertThat(HopperTiles.of(pass, headDim).bytes(headDim)).isLessThanOrEqualTo(SHARED_BYTES);
      }
    }
    assertThat(HopperTiles.ONE_PASS.bytes(128)).isLessThanOrEqualTo(SHARED_BYTES);
  }

  @Test
  void onePassNeedsLongSequencesOrManyOfThem() {
    assertThat(onePass(1, 128, 0, 4096)).isFalse();
    assertThat(onePass(1, 128, 0, 8192)).isTrue();
    assertThat(onePass(1, 128, 0, 32_768)).isTrue();
    assertThat(onePass(8, 128, 0, 4096)).isTrue();
    assertThat(onePass(1, 128, 512, 8192)).isFalse();
    assertThat(onePass(1, 64, 0, 16_384)).isFalse();
    assertThat(onePass(1, 128, 0, 1)).isFalse();
  }

  private static boolean onePass(int batch, int headDim, int window, int tokens) {
    AttentionShape shape = new AttentionShape(batch, 32, 8, headDim, 1, window);
    return HopperTiles.onePass(shape, tokens, tokens, MULTIPROCESSORS);
  }
}

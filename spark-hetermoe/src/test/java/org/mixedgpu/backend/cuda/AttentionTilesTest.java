package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AttentionTilesTest {
  /** Turing, Volta, Ada, Ampere, Hopper. */
  @ParameterizedTest
  @ValueSource(ints = {64 << 10, 96 << 10, 99 << 10, 163 << 10, 227 << 10})
  void everyHeadSizeFitsEveryGpu(int sharedBytes) {
    for (int headDim = 16; headDim <= 256; headDim += headDim < 128 ? 16 : 32) {
      for (AttentionPass pass : AttentionPass.values()) {
        AttentionTiles tiles = AttentionTiles.choose(pass, headDim, sharedBytes);
        assertThat(tiles.bytes(pass, headDim)).isLessThanOrEqualTo(sharedBytes);
        // Statistics are padded to 128 queries, columns are multiples of 16.
        assertThat(128 % tiles.own()).isZero();
        assertThat(128 % tiles.other()).isZero();
        assertThat(headDim / tiles.split() % 16).isZero();
      }
    }
  }

  @Test
  void moreSharedMemoryGivesLargerTiles() {
    AttentionTiles hopper = AttentionTiles.choose(AttentionPass.BACKWARD_KEYS, 128, 227 << 10);
    AttentionTiles volta = AttentionTiles.choose(AttentionPass.BACKWARD_KEYS, 80, 96 << 10);
    AttentionTiles turing = AttentionTiles.choose(AttentionPass.BACKWARD_KEYS, 128, 64 << 10);
    assertThat(hopper.own()).isEqualTo(128);
    assertThat(volta.own()).isEqualTo(128);
    assertThat(turing.own()).isEqualTo(64);
  }
}

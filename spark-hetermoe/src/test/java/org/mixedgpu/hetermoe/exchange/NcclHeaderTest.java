package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Random;
import org.junit.jupiter.api.Test;
import org.mixedgpu.tensor.DType;

class NcclHeaderTest {
  @Test
  void rowsAreAnnouncedWithTypeSizesAndIntegers() {
    for (DType type : DType.values()) {
      NcclHeader found =
          NcclHeader.decode(
              new NcclHeader(type, (7L << 32) - 3, (1L << 31) + 5, new int[] {-1, 0, 9}).encode());
      assertThat(found.type()).isEqualTo(type);
      assertThat(found.rows()).isEqualTo((7L << 32) - 3);
      assertThat(found.rowElements()).isEqualTo((1L << 31) + 5);
      assertThat(found.header()).containsExactly(-1, 0, 9);
    }
    assertThat(NcclHeader.decode(new NcclHeader(DType.BF16, 0, 4, new int[0]).encode()).header())
        .isEmpty();
  }

  @Test
  void otherWordsAreNoHeader() {
    assertThatThrownBy(() -> NcclHeader.decode(new int[] {1, 2})).hasMessageContaining("2 words");
    assertThatThrownBy(() -> NcclHeader.decode(new int[] {99, 0, 0, 0, 0}))
        .hasMessageContaining("the first 99");
  }

  @Test
  void anIdKeepsItsBytes() {
    byte[] id = new byte[128];
    new Random(5).nextBytes(id);
    assertThat(NcclId.decode(NcclId.encode(id))).isEqualTo(id);
    assertThatThrownBy(() -> NcclId.encode(new byte[127])).hasMessageContaining("127 bytes");
    assertThatThrownBy(() -> NcclId.decode(new int[31])).hasMessageContaining("31 words");
  }
}

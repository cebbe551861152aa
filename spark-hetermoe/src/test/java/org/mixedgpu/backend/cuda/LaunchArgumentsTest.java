package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.jna.Pointer;
import org.junit.jupiter.api.Test;

class LaunchArgumentsTest {
  private final LaunchArguments arguments = new LaunchArguments();

  /** Where argument i lies. */
  private static Pointer at(long table, int i) {
    return new Pointer(new Pointer(table).getLong(8L * i));
  }

  @Test
  void eachArgumentLiesWhereTheTableSays() {
    byte[] map = new byte[128];
    map[0] = 5;
    map[127] = 6;
    long table = arguments.pack(1L << 40, -3, 2.5f, null, map, 9);
    assertThat(at(table, 0).getLong(0)).isEqualTo(1L << 40);
    assertThat(at(table, 1).getInt(0)).isEqualTo(-3);
    assertThat(at(table, 2).getFloat(0)).isEqualTo(2.5f);
    assertThat(at(table, 3).getLong(0)).isZero();
    assertThat(at(table, 4).getByteArray(0, 128)).isEqualTo(map);
    assertThat(Pointer.nativeValue(at(table, 4)) % 64).isZero();
    assertThat(at(table, 5).getInt(0)).isEqualTo(9);
    assertThat(at(arguments.pack(7L), 0).getLong(0)).isEqualTo(7);
  }

  @Test
  void whatDoesNotFitIsRefused() {
    assertThatThrownBy(() -> arguments.pack(new Object[49])).hasMessageContaining("49");
    byte[] map = new byte[1024];
    assertThatThrownBy(() -> arguments.pack(map, map, map)).hasMessageContaining("2048");
    assertThatThrownBy(() -> arguments.pack("text")).hasMessageContaining("text");
  }

  @Test
  void numbersGoThroughTheCell() {
    new Pointer(arguments.cell()).setLong(0, 77);
    assertThat(arguments.cellValue()).isEqualTo(77);
    assertThat(new Pointer(arguments.single(0.5f)).getFloat(0)).isEqualTo(0.5f);
  }
}

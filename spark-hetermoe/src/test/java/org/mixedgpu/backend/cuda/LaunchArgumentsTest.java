package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.jna.Pointer;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Garbage;

class LaunchArgumentsTest {
  private final LaunchArguments arguments = new LaunchArguments();

  /** Where argument i lies. */
  private static Pointer at(long table, int i) {
    return new Pointer(new Pointer(table).getLong(8L * i));
  }

  private static byte[] map() {
    byte[] map = new byte[128];
    map[0] = 5;
    map[127] = 6;
    return map;
  }

  private static void assertMixed(long table) {
    assertThat(at(table, 0).getLong(0)).isEqualTo(1L << 40);
    assertThat(at(table, 1).getInt(0)).isEqualTo(-3);
    assertThat(at(table, 2).getFloat(0)).isEqualTo(2.5f);
    assertThat(at(table, 3).getLong(0)).isZero();
    assertThat(at(table, 4).getByteArray(0, 128)).isEqualTo(map());
    assertThat(Pointer.nativeValue(at(table, 4)) % 64).isZero();
    assertThat(at(table, 5).getInt(0)).isEqualTo(9);
  }

  private LaunchArguments mixed(byte[] map) {
    return arguments.start().add(1L << 40).add(-3).add(2.5f).add((CudaTensor) null).add(map).add(9);
  }

  @Test
  void eachArgumentLiesWhereTheTableSays() {
    assertMixed(mixed(map()).table());
    assertThat(arguments).hasToString("[1099511627776, -3, 2.5, null, a structure, 9]");
    assertThat(at(arguments.start().add(7L).table(), 0).getLong(0)).isEqualTo(7);
  }

  @Test
  void writingArgumentsAllocatesNothing() {
    byte[] map = map();
    assertThat(Garbage.of(() -> mixed(map).table())).isZero();
  }

  @Test
  void whatDoesNotFitIsRefused() {
    arguments.start();
    for (int i = 0; i < 48; i++) {
      arguments.add(i);
    }
    assertThatThrownBy(() -> arguments.add(48)).hasMessageContaining("48");
    byte[] map = new byte[1024];
    assertThatThrownBy(() -> arguments.start().add(map).add(map).add(map))
        .hasMessageContaining("2048");
  }

  @Test
  void numbersGoThroughTheCell() {
    new Pointer(arguments.cell()).setLong(0, 77);
    assertThat(arguments.cellValue()).isEqualTo(77);
    assertThat(new Pointer(arguments.single(0.5f)).getFloat(0)).isEqualTo(0.5f);
  }
}

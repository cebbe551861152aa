package org.mixedgpu.nn.safetensors;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.HadoopFileStore;
import org.mixedgpu.tensor.Shape;

class SafetensorsTest {
  private static final String GOLDEN = "src/test/resources/golden/";

  private final FileStore files = HadoopFileStore.ofDefaults();
  @TempDir Path folder;

  @Test
  void readsWhatPythonWrote() {
    try (Safetensors golden = Safetensors.open(files, GOLDEN + "qwen2/golden.safetensors")) {
      assertThat(golden.entries()).containsKeys("input_ids", "logits", "k.0", "v.1");
      assertThat(golden.entry("logits").shape()).isEqualTo(Shape.of(2, 160, 512));
      int[] ids = golden.ints("input_ids");
      assertThat(ids).hasSize(320);
      assertThat(IntStream.of(ids)).allMatch(id -> id >= 0 && id < 512);
      for (float logit : golden.floats("logits")) {
        assertThat(logit).isBetween(-100f, 100f);
      }
    }
  }

  @Test
  void roundTripsEveryFloatType() {
    float[] values = {0, -0f, 1, -2.5f, 65504, 6.1e-5f, 5.96e-8f, 1e-3f, Float.NaN, 0.1f};
    for (StoredType type : List.of(StoredType.F32, StoredType.F16, StoredType.BF16)) {
      String path = folder.resolve(type + ".safetensors").toString();
      write(path, type, values);
      try (Safetensors read = Safetensors.open(files, path)) {
        assertThat(read.metadata()).containsExactly(Map.entry("format", "pt"));
        float[] back = read.floats("b");
        for (int i = 0; i < values.length; i++) {
          float step = type == StoredType.F32 ? 0 : type == StoredType.F16 ? 0x1p-11f : 0x1p-8f;
          if (Float.isNaN(values[i])) {
            assertThat(back[i]).isNaN();
          } else {
            assertThat(Math.abs(back[i] - values[i]))
                .isLessThanOrEqualTo(Math.max(Math.abs(values[i]) * step, 0x1p-25f * step));
          }
        }
        assertThat(read.entries().keySet()).containsExactly("a", "b", "c");
        assertThat(read.entry("b").offset() % 2).isZero();
      }
    }
  }

  @Test
  void refusesUnfinishedAndOverfullFiles() {
    String path = folder.resolve("x.safetensors").toString();
    List<SafetensorsWriter.Announced> one =
        List.of(new SafetensorsWriter.Announced("w", StoredType.F32, Shape.of(2)));
    try (SafetensorsWriter writer = SafetensorsWriter.create(files, path, one, Map.of())) {
      writer.writeBytes(ByteBuffer.allocate(4));
      assertThatThrownBy(writer::publish).hasMessageContaining("tensor 1 of 1 is not complete");
      assertThatThrownBy(() -> writer.writeBytes(ByteBuffer.allocate(8)))
          .hasMessageContaining("8 bytes more than announced");
    }
    assertThat(folder).isEmptyDirectory();
  }

  @Test
  void aWeightThatF16CannotHoldIsRefused() {
    String path = folder.resolve("x.safetensors").toString();
    List<SafetensorsWriter.Announced> one =
        List.of(new SafetensorsWriter.Announced("w", StoredType.F16, Shape.of(2)));
    try (SafetensorsWriter writer = SafetensorsWriter.create(files, path, one, Map.of())) {
      assertThatThrownBy(() -> writer.writeFloats(floats(65519, 65520)))
          .hasMessageContaining("tensor w has the value 65520.0, which F16 can't hold");
      writer.writeFloats(floats(65519, Float.NEGATIVE_INFINITY));
    }
  }

  @Test
  void everyHalfSurvivesTheWayThereAndBack() {
    for (int bits = 0; bits < 1 << 16; bits++) {
      float half = Halves.fromF16((short) bits);
      float brain = Float.intBitsToFloat(bits << 16);
      if (!Float.isNaN(half)) {
        assertThat(Halves.toF16(half)).isEqualTo((short) bits);
      }
      if (!Float.isNaN(brain)) {
        assertThat(Halves.toBf16(brain)).isEqualTo((short) bits);
      }
    }
    // Ties go to the even neighbour.
    assertThat(Halves.toF16(1 + 0x1p-11f)).isEqualTo(Halves.toF16(1));
    assertThat(Halves.toF16(1 + 0x3p-11f)).isEqualTo(Halves.toF16(1 + 0x1p-9f));
    assertThat(Halves.toF16(0x1p-25f)).isZero();
    assertThat(Halves.toF16(0x3p-25f)).isEqualTo((short) 2);
    assertThat(Halves.toBf16(1 + 0x1p-8f)).isEqualTo(Halves.toBf16(1));
    assertThat(Halves.toBf16(1 + 0x3p-8f)).isEqualTo(Halves.toBf16(1 + 0x1p-6f));
  }

  @Test
  void namesTheLieInADamagedHeader() throws IOException {
    String f32 = "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":";
    assertCorrupt("{{", 8, "not JSON");
    assertCorrupt("[]", 0, "not a JSON object");
    assertCorrupt("{\"w\":{" + f32 + "[0,8]}}", 7, "no range within the file's 7 bytes");
    assertCorrupt("{\"w\":{" + f32 + "[0,8]}}", 9, "its tensors end at byte");
    assertCorrupt("{\"w\":{" + f32 + "[0,4]}}", 4, "larger than the file");
    assertCorrupt("{\"w\":{" + f32 + "[0,4]}}", 8, "needs 8 bytes but has 4");
    assertCorrupt("{\"w\":{" + f32 + "[-8,0]}}", 8, "expected whole numbers from 0 on");
    assertCorrupt("{\"w\":{" + f32 + "[0,1e99]}}", 8, "expected whole numbers from 0 on");
    assertCorrupt("{\"w\":{" + f32 + "[0,8]},\"v\":{" + f32 + "[0,8]}}", 8, "neither overlap");
    assertCorrupt("{\"w\":{" + f32 + "[8,16]}}", 16, "neither overlap nor leave gaps");
    assertCorrupt("{\"w\":{" + f32 + "[0,8]},\"w\":{" + f32 + "[0,8]}}", 8, "Duplicate");
    assertCorrupt(
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}",
        8,
        "larger than the file");
    for (String shape : List.of("[0,1L,1L]", "[1L,1L,0]", "[0,2,1L]")) {
      String large = shape.replace("1L", "4611686018427387904");
      assertCorrupt(
          "{\"w\":{\"dtype\":\"F32\",\"shape\":" + large + ",\"data_offsets\":[0,0]}}",
          0,
          "tensor w of shape " + large + " is larger than any file, but for its 0");
    }
  }

  @Test
  void anEmptyTensorHasAnyOtherExtents() throws IOException {
    Path path = file("{\"w\":{\"dtype\":\"F32\",\"shape\":[9,0],\"data_offsets\":[0,0]}}", 0);
    try (Safetensors read = Safetensors.open(files, path.toString())) {
      assertThat(read.entry("w").shape()).isEqualTo(Shape.of(9, 0));
    }
  }

  @Test
  void namesTheLieInTheLengthOfTheHeader() throws IOException {
    Path path = folder.resolve("x");
    Files.write(path, new byte[7]);
    assertThatThrownBy(() -> Safetensors.open(files, path.toString()))
        .hasMessageContaining("has 7 bytes");
    for (long length : new long[] {-1, 1, 100, Long.MAX_VALUE}) {
      Files.write(
          path, ByteBuffer.allocate(20).order(ByteOrder.LITTLE_ENDIAN).putLong(length).array());
      assertThatThrownBy(() -> Safetensors.open(files, path.toString()))
          .hasMessageContaining("its header has " + length + " bytes; expected 2 to 12");
    }
  }

  @Test
  void anUnknownTypeIsNotDamage() throws IOException {
    Path path = file("{\"w\":{\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
    assertThatThrownBy(() -> Safetensors.open(files, path.toString()))
        .hasMessageContaining("F8_E4M3")
        .extracting(e -> ((MixedGpuException) e).fault())
        .isEqualTo(Fault.BAD_INPUT);
  }

  private void write(String path, StoredType type, float[] values) {
    List<SafetensorsWriter.Announced> tensors =
        List.of(
            new SafetensorsWriter.Announced("a", StoredType.F32, Shape.of(0, 3)),
            new SafetensorsWriter.Announced("b", type, Shape.of(2, values.length / 2)),
            new SafetensorsWriter.Announced("c", StoredType.F32, Shape.of(1)));
    try (SafetensorsWriter writer =
        SafetensorsWriter.create(files, path, tensors, Map.of("format", "pt"))) {
      writer.writeFloats(floats(values));
      writer.writeFloats(floats(3));
      assertThat(writer.publish()).isTrue();
    }
  }

  static ByteBuffer floats(float... values) {
    ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(ByteOrder.LITTLE_ENDIAN);
    bytes.asFloatBuffer().put(values);
    return bytes;
  }

  private void assertCorrupt(String header, int dataBytes, String message) throws IOException {
    Path path = file(header, dataBytes);
    assertThatThrownBy(() -> Safetensors.open(files, path.toString()))
        .hasMessageContaining(message)
        .hasMessageContaining(path.toString())
        .extracting(e -> ((MixedGpuException) e).fault())
        .isEqualTo(Fault.CORRUPT);
  }

  private Path file(String header, int dataBytes) throws IOException {
    byte[] json = header.getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes =
        ByteBuffer.allocate(8 + json.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(json.length).put(json);
    return Files.write(folder.resolve("damaged.safetensors"), bytes.array());
  }
}

package org.mixedgpu.nn.safetensors;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.MemoryFileStore;
import org.mixedgpu.tensor.Shape;

class SafetensorsProperties {
  private static final String PATH = "/w.safetensors";

  private final byte[] intact = intact();

  private static byte[] intact() {
    MemoryFileStore files = new MemoryFileStore();
    List<SafetensorsWriter.Announced> tensors =
        List.of(
            new SafetensorsWriter.Announced("a.weight", StoredType.F32, Shape.of(3, 5)),
            new SafetensorsWriter.Announced("b.bias", StoredType.BF16, Shape.of(7)),
            new SafetensorsWriter.Announced("c", StoredType.I64, Shape.of(2, 1, 2)));
    try (SafetensorsWriter out =
        SafetensorsWriter.create(files, PATH, tensors, Map.of("format", "pt"))) {
      out.writeBytes(ByteBuffer.allocate(60));
      out.writeBytes(ByteBuffer.allocate(14));
      out.writeBytes(ByteBuffer.allocate(32));
      out.publish();
    }
    return files.files.get(PATH);
  }

  @Property(tries = 3000)
  void damageNeverCrashesTheReader(
      @ForAll long seed, @ForAll @IntRange(min = 1, max = 4) int hits) {
    Random random = new Random(seed);
    byte[] damaged = intact.clone();
    for (int i = 0; i < hits; i++) {
      // Most damage hits the header, which is what the reader has to believe.
      int at = random.nextInt(random.nextInt(4) == 0 ? damaged.length : damaged.length - 106);
      damaged[at] =
          (byte)
              (random.nextBoolean()
                  ? random.nextInt()
                  : "0123456789[]{},:\"-e".charAt(random.nextInt(19)));
    }
    readAll(damaged);
  }

  @Property(tries = 400)
  void aCutFileIsAlwaysRefused(@ForAll @IntRange(min = 0, max = 10_000) int length) {
    byte[] cut = java.util.Arrays.copyOf(intact, length % intact.length);
    assertThat(readAll(cut)).isFalse();
  }

  @Property(tries = 200)
  void aGrownFileIsAlwaysRefused(@ForAll @IntRange(min = 1, max = 100) int more) {
    assertThat(readAll(java.util.Arrays.copyOf(intact, intact.length + more))).isFalse();
  }

  /** Whether everything could be read; anything but our own exception fails the test. */
  private static boolean readAll(byte[] bytes) {
    MemoryFileStore files = new MemoryFileStore();
    files.files.put(PATH, bytes);
    try (Safetensors read = Safetensors.open(files, PATH)) {
      for (TensorEntry entry : read.entries().values()) {
        if (entry.type().isFloat()) {
          assertThat(read.floats(entry.name())).hasSize((int) entry.shape().elements());
        } else {
          read.ints(entry.name());
        }
      }
      return true;
    } catch (MixedGpuException e) {
      assertThat(e).hasMessageContaining(PATH);
      return false;
    }
  }
}

package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

class KernelCacheTest {
  private static final KernelSource SOURCE =
      new KernelSource("planted", "the text", List.of("-DARCH=80", "-DT_F32"));

  @TempDir Path folder;
  private int compiled;

  private byte[] get(KernelCache cache, KernelSource source, String cubin) {
    return cache.get(
        source,
        () -> {
          compiled++;
          return cubin.getBytes(java.nio.charset.StandardCharsets.UTF_8);
        });
  }

  private Path only() throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      List<Path> all = files.toList();
      assertThat(all).hasSize(1);
      return all.get(0);
    }
  }

  @Test
  void theNextProcessFindsWhatThisOneCompiled() throws IOException {
    assertThat(get(new KernelCache(folder, "NVRTC 1"), SOURCE, "machine code"))
        .asString()
        .isEqualTo("machine code");
    assertThat(only().getFileName().toString()).startsWith("planted-").endsWith(".cubin");
    assertThat(get(new KernelCache(folder, "NVRTC 1"), SOURCE, "other"))
        .asString()
        .isEqualTo("machine code");
    assertThat(compiled).isEqualTo(1);
  }

  @Test
  void damageAnywhereInAFileIsNoticed() throws IOException {
    KernelCache cache = new KernelCache(folder, "NVRTC 1");
    get(cache, SOURCE, "code");
    byte[] good = Files.readAllBytes(only());
    for (int at = 0; at < good.length; at++) {
      byte[] bad = good.clone();
      bad[at] ^= (byte) (1 << at % 8);
      Files.write(only(), bad);
      int before = compiled;
      assertThat(get(cache, SOURCE, "code")).asString().isEqualTo("code");
      assertThat(compiled).as("byte %d", at).isEqualTo(before + 1);
      assertThat(Files.readAllBytes(only())).isEqualTo(good);
    }
    for (int length : new int[] {0, 1, 31, 32, good.length - 1}) {
      Files.write(only(), java.util.Arrays.copyOf(good, length));
      int before = compiled;
      assertThat(get(cache, SOURCE, "code")).asString().isEqualTo("code");
      assertThat(compiled).as("length %d", length).isEqualTo(before + 1);
    }
  }

  @Test
  void theKeyChangesWithAllThatTheCodeFollowsFrom() {
    KernelCache cache = new KernelCache(folder, "NVRTC 1");
    String key = cache.key(SOURCE);
    assertThat(new KernelCache(folder, "NVRTC 2").key(SOURCE)).isNotEqualTo(key);
    assertThat(cache.key(new KernelSource("planted", "the texT", SOURCE.options())))
        .isNotEqualTo(key);
    assertThat(cache.key(new KernelSource("planted", "the text", List.of("-DARCH=86", "-DT_F32"))))
        .isNotEqualTo(key);
    assertThat(cache.key(new KernelSource("planted", "the text", List.of("-DARCH=80-DT_F32"))))
        .isNotEqualTo(key);
    assertThat(new KernelCache(folder, "NVRTC 1").key(SOURCE)).isEqualTo(key);
  }

  @Test
  void aFolderThatCannotBeWrittenIsOnlyMissed() throws IOException {
    // A file in the place of the folder: also root cannot write below it.
    Path file = Files.writeString(folder.resolve("file"), "");
    KernelCache cache = new KernelCache(file, "NVRTC 1");
    assertThat(get(cache, SOURCE, "code")).asString().isEqualTo("code");
    assertThat(get(cache, SOURCE, "code")).asString().isEqualTo("code");
    assertThat(compiled).isEqualTo(2);
  }

  @Test
  void theFolderIsOfThisUserAlone() throws IOException {
    Path made = KernelCache.folder(folder.resolve("a").resolve("b"));
    assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(made)))
        .isEqualTo("rwx------");
    assertThat(KernelCache.folder(made)).isEqualTo(made);
    Path file = Files.writeString(folder.resolve("file"), "");
    assertThatThrownBy(() -> KernelCache.folder(file.resolve("below")))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
        .hasMessageContainingAll(file.toString(), "XDG_CACHE_HOME");
  }

  @Test
  void aFailedCompilationLeavesNothing() throws IOException {
    KernelCache cache = new KernelCache(folder, "NVRTC 1");
    assertThatThrownBy(
            () ->
                cache.get(
                    SOURCE,
                    () -> {
                      throw new MixedGpuException(Fault.BUG, "planted");
                    }))
        .hasMessage("planted");
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files).isEmpty();
    }
  }
}

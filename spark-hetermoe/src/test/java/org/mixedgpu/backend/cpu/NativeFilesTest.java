package org.mixedgpu.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

class NativeFilesTest {
  private static final String FILE = "libquadmath.so.0";
  private static final String RESOURCE =
      "org/bytedeco/openblas/" + NativeFiles.platform() + "/" + FILE;

  @TempDir Path temporary;
  private String before;

  @BeforeEach
  void redirect() {
    before = System.setProperty("java.io.tmpdir", temporary.toString());
  }

  @AfterEach
  void restore() {
    System.setProperty("java.io.tmpdir", before);
  }

  @Test
  void aMissingLibraryNamesItsArtifact() {
    assertThatThrownBy(() -> NativeFiles.place("org/bytedeco/openblas/vax/libx.so", "libx.so"))
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING))
        .hasMessageContainingAll("vax/libx.so", "org.bytedeco:openblas", "classifier");
  }

  @Test
  void severalAtOnceWriteOneWholeFile()
      throws ExecutionException, InterruptedException, IOException {
    ExecutorService pool = Executors.newFixedThreadPool(6);
    Set<Path> places = new HashSet<>();
    try {
      List<Future<Path>> all = new ArrayList<>();
      for (int i = 0; i < 6; i++) {
        all.add(pool.submit(() -> NativeFiles.place(RESOURCE, FILE)));
      }
      for (Future<Path> one : all) {
        places.add(one.get());
      }
    } finally {
      pool.shutdown();
    }
    assertThat(places).hasSize(1);
    Path file = places.iterator().next();
    assertThat(file).startsWith(temporary);
    assertThat(Files.readAllBytes(file)).isEqualTo(original());
    try (Stream<Path> left = Files.list(file.getParent())) {
      assertThat(left).containsExactly(file);
    }
  }

  @Test
  void aFileThatWasCutIsWrittenAgain() throws IOException {
    Path file = NativeFiles.place(RESOURCE, FILE);
    Files.write(file, new byte[] {1, 2, 3});
    assertThat(NativeFiles.place(RESOURCE, FILE)).isEqualTo(file);
    assertThat(Files.readAllBytes(file)).isEqualTo(original());
  }

  private static byte[] original() throws IOException {
    try (InputStream in = NativeFilesTest.class.getClassLoader().getResourceAsStream(RESOURCE)) {
      return in.readAllBytes();
    }
  }
}

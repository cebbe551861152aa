package org.mixedgpu.build;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.jar.JarFile;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The jar for spark-submit has all that Spark lacks and nothing that Spark brings. */
class SparkJarIT {
  /** Our own dependencies, which are meant to be inside. */
  private static final List<String> BUNDLED =
      List.of(
          "/net/java/dev/jna/",
          "/ai/djl/",
          "/org/bytedeco/",
          "/org/jcuda/",
          "/com/google/code/gson/");

  @Test
  void bundlesNothingThatSparkBrings() throws IOException {
    Set<String> ours = classes(sparkJar());
    Set<String> sparks = new HashSet<>();
    List<String> jars =
        Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(entry -> entry.endsWith(".jar"))
            .filter(entry -> BUNDLED.stream().noneMatch(entry::contains))
            .filter(entry -> !entry.contains("/org/mixedgpu/"))
            .filter(entry -> !entry.contains("/target/"))
            .collect(Collectors.toList());
    assertThat(jars).anyMatch(jar -> jar.contains("spark-core"));
    for (String jar : jars) {
      sparks.addAll(classes(Path.of(jar)));
    }
    assertThat(sparks).hasSizeGreaterThan(10_000);
    ours.retainAll(sparks);
    assertThat(ours).isEmpty();
  }

  @Test
  void bringsItsNativeLibrariesAndCommandLine() throws IOException {
    try (JarFile jar = new JarFile(sparkJar().toFile())) {
      assertThat(jar.stream().map(e -> e.getName()))
          .anyMatch(name -> name.matches("org/bytedeco/openblas/[^/]+/libopenblas\\..*"))
          .anyMatch(name -> name.matches("native/lib/linux-x86_64/.*libtokenizers\\.so"))
          .anyMatch(name -> name.matches("lib/libJCudaDriver-.*\\.so"))
          .contains(
              "com/sun/jna/Native.class",
              "jcuda/driver/JCudaDriver.class",
              "org/mixedgpu/kernels/prelude.cuh",
              "org/mixedgpu/shaded/picocli/CommandLine.class",
              "org/mixedgpu/backend/Backend.class");
    }
  }

  private static Path sparkJar() throws IOException {
    try (Stream<Path> files = Files.list(Path.of("target"))) {
      return files
          .filter(file -> file.getFileName().toString().endsWith("-spark.jar"))
          .findFirst()
          .orElseThrow(
              () -> new IOException("No target/*-spark.jar; run this test with mvn verify"));
    }
  }

  private static Set<String> classes(Path path) throws IOException {
    try (JarFile jar = new JarFile(path.toFile())) {
      return jar.stream()
          .map(entry -> entry.getName())
          .filter(name -> name.endsWith(".class") && !name.contains("module-info"))
          .collect(Collectors.toSet());
    }
  }
}

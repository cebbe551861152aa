package org.mixedgpu.backend.cuda;

import static org.assertj.core.api.Assertions.fail;
import static org.junit.jupiter.api.Assumptions.abort;

import com.sun.jna.NativeLibrary;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * NVRTC of one version that knows all generations, for tests on machines without a GPU: the wheel
 * on PyPI, which pip puts into {@code target/nvrtc} at first use. The system property {@code
 * nvrtc.library} names another libnvrtc.so.12 instead.
 */
final class NvrtcWheel {
  /** CUDA 12's is the last that knows compute capability 7.0, and from 12.8 on it knows 10.0. */
  private static final String WHEEL = "nvidia-cuda-nvrtc-cu12==12.9.86";

  private static final Path FOLDER = Path.of("target", "nvrtc");
  private static final Path LIBRARY =
      FOLDER.resolve(Path.of("nvidia", "cuda_nvrtc", "lib", "libnvrtc.so.12"));

  private static Nvrtc opened;

  private NvrtcWheel() {}

  /** Skips the calling test where it cannot be had; fails instead where CI is set. */
  static synchronized Nvrtc open() {
    if (opened == null) {
      String named = System.getProperty("nvrtc.library");
      Path file = named != null ? Path.of(named) : LIBRARY;
      if (named == null && !Files.exists(LIBRARY)) {
        install();
      }
      opened = new Nvrtc(NativeLibrary.getInstance(file.toAbsolutePath().toString()));
    }
    return opened;
  }

  private static void install() {
    List<String> command =
        List.of(
            "python3",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
            FOLDER.toString(),
            WHEEL);
    try {
      Files.createDirectories(FOLDER);
      Path log = FOLDER.resolve("pip.log");
      Process pip =
          new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(log.toFile())
              .start();
      if (!pip.waitFor(10, TimeUnit.MINUTES)) {
        pip.destroyForcibly();
        missing("it did not end within 10 minutes");
      }
      if (pip.exitValue() != 0 || !Files.exists(LIBRARY)) {
        missing(Files.readString(log, StandardCharsets.UTF_8).strip());
      }
    } catch (IOException e) {
      missing(e.getMessage());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      missing("interrupted");
    }
  }

  private static void missing(String why) {
    String message =
        "Kernels are compiled with "
            + WHEEL
            + ", which python3 -m pip could not install ("
            + why
            + "); install it, or name a libnvrtc.so.12 with -Dnvrtc.library";
    if (System.getenv("CI") != null) {
      fail(message);
    }
    abort(message);
  }
}

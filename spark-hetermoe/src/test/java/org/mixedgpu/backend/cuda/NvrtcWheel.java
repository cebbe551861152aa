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
 * NVRTC for tests on machines without a GPU: wheels on PyPI, which pip puts below {@code target} at
 * first use.
 */
enum NvrtcWheel {
  /**
   * The last that knows compute capability 7.0, and from 12.8 on it knows 10.0. The system property
   * {@code nvrtc.library} names another libnvrtc.so.12 instead.
   */
  CUDA_12("nvidia-cuda-nvrtc-cu12==12.9.86", "nvrtc", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12"),
  CUDA_13("nvidia-cuda-nvrtc==13.0.88", "nvrtc13", "nvidia/cu13/lib/libnvrtc.so.13");

  private final String wheel;
  private final Path folder;
  private final Path library;
  private Nvrtc opened;

  NvrtcWheel(String wheel, String folder, String library) {
    this.wheel = wheel;
    this.folder = Path.of("target", folder);
    this.library = this.folder.resolve(library);
  }

  /** Skips the calling test where it cannot be had; fails instead where CI is set. */
  synchronized Nvrtc open() {
    if (opened == null) {
      opened = new Nvrtc(NativeLibrary.getInstance(file().toString()));
    }
    return opened;
  }

  /** Its libnvrtc; as {@link #open}. */
  synchronized Path file() {
    String named = this == CUDA_12 ? System.getProperty("nvrtc.library") : null;
    if (named == null && !Files.exists(library)) {
      install();
    }
    return (named != null ? Path.of(named) : library).toAbsolutePath();
  }

  private void install() {
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
            folder.toString(),
            wheel);
    try {
      Files.createDirectories(folder);
      Path log = folder.resolve("pip.log");
      Process pip =
          new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(log.toFile())
              .start();
      if (!pip.waitFor(10, TimeUnit.MINUTES)) {
        pip.destroyForcibly();
        missing("it did not end within 10 minutes");
      }
      if (pip.exitValue() != 0 || !Files.exists(library)) {
        missing(Files.readString(log, StandardCharsets.UTF_8).strip());
      }
    } catch (IOException e) {
      missing(e.getMessage());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      missing("interrupted");
    }
  }

  private void missing(String why) {
    String message =
        "Kernels are compiled with "
            + wheel
            + ", which python3 -m pip could not install ("
            + why
            + "); install it, or name a libnvrtc.so.12 with -Dnvrtc.library";
    if (System.getenv("CI") != null) {
      fail(message);
    }
    abort(message);
  }
}

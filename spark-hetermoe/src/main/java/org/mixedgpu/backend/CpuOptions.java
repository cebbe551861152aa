package org.mixedgpu.backend;

import org.mixedgpu.base.Check;

/**
 * What a CPU backend may use.
 *
 * @param threads compute threads, the caller's among them
 * @param memoryLimitBytes most bytes of open tensors at one time
 */
public record CpuOptions(int threads, long memoryLimitBytes) {
  public CpuOptions {
    Check.input(threads >= 1, "A CPU backend needs at least 1 thread; found %d", threads);
    Check.input(
        memoryLimitBytes >= 0,
        "The memory limit of a CPU backend is in bytes, 0 or more; found %d",
        memoryLimitBytes);
  }

  /** All cores, and as much memory as the JVM allows outside its heap. */
  public static CpuOptions allCores() {
    return new CpuOptions(Runtime.getRuntime().availableProcessors(), Long.MAX_VALUE);
  }
}

package org.mixedgpu.local;

import java.util.List;
import java.util.Map;
import org.mixedgpu.base.Check;

/**
 * One Spark Worker.
 *
 * @param name for its folder and log, such as {@code new}
 * @param cores cores it offers; may be more than the machine has
 * @param memoryMib memory it offers to executors
 * @param resources addresses by resource name, such as {@code gpu-hopper} → {@code [0]}
 */
public record WorkerSpec(
    String name, int cores, int memoryMib, Map<String, List<String>> resources) {
  public WorkerSpec {
    Check.input(
        name.matches("[A-Za-z0-9_-]+") && cores > 0 && memoryMib > 0,
        "A worker needs a name of letters and digits, cores and memory; found '%s', %d, %d MiB",
        name,
        cores,
        memoryMib);
    resources = Map.copyOf(resources);
  }
}

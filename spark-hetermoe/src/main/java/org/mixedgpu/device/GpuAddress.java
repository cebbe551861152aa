package org.mixedgpu.device;

import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.mixedgpu.base.Check;

/** From what a cluster manager calls a GPU to the index that {@code nvidia-smi} gives it. */
public final class GpuAddress {
  private static final Pattern INDEX = Pattern.compile("(?:[a-z0-9]+-)?(\\d{1,4})");

  private GpuAddress() {}

  /**
   * The index of an address: {@code 0} under a resource that names the generation, {@code hopper-0}
   * under one that does not.
   */
  public static int index(String address) {
    Matcher matcher = INDEX.matcher(address.strip());
    Check.input(
        matcher.matches(),
        "GPU address '%s' does not tell the GPU's index; addresses must look like 0 or hopper-0,"
            + " as nvidia-smi counts (see conf/discover-gpus.sh)",
        address);
    return Integer.parseInt(matcher.group(1));
  }

  /**
   * The GPU of a task: the first address of its resource {@code gpu} or {@code gpu-<generation>}.
   * Empty where it was given none.
   *
   * @param resources addresses by the resource's name
   */
  public static OptionalInt ofTask(Map<String, List<String>> resources) {
    // Sorted, so that a task with several kinds of GPUs takes the same one in every run.
    for (Map.Entry<String, List<String>> resource : new TreeMap<>(resources).entrySet()) {
      boolean gpu = resource.getKey().equals("gpu") || resource.getKey().startsWith("gpu-");
      if (gpu && !resource.getValue().isEmpty()) {
        return OptionalInt.of(index(resource.getValue().get(0)));
      }
    }
    return OptionalInt.empty();
  }
}

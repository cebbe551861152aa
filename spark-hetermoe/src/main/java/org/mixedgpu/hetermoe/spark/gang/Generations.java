package org.mixedgpu.hetermoe.spark.gang;

import java.util.List;
import java.util.Map;
import org.apache.spark.resource.ResourceInformation;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** Which GPU generation a task was given, by the names and addresses of its resources. */
final class Generations {
  private Generations() {}

  /** Generation and addresses. */
  record Given(String generation, List<String> addresses) {}

  /**
   * Either a resource {@code gpu-hopper} with any addresses, or a resource {@code gpu} with
   * addresses such as {@code hopper-0}.
   */
  static Given of(Map<String, ResourceInformation> resources) {
    for (Map.Entry<String, ResourceInformation> resource : resources.entrySet()) {
      List<String> addresses = List.of(resource.getValue().addresses());
      if (resource.getKey().startsWith(MemberSpec.PREFIX)) {
        return new Given(resource.getKey().substring(MemberSpec.PREFIX.length()), addresses);
      }
      if (resource.getKey().equals("gpu")) {
        String address = addresses.get(0);
        int dash = address.lastIndexOf('-');
        Check.input(
            dash > 0,
            "GPU address '%s' of resource gpu does not tell the generation; addresses must look"
                + " like hopper-0 (see conf/discover-gpus.sh --one-name)",
            address);
        return new Given(address.substring(0, dash), addresses);
      }
    }
    throw new MixedGpuException(
        Fault.MISSING,
        "The task was given no GPU: its resources are "
            + resources.keySet()
            + "; name them gpu-<generation>, or gpu with addresses <generation>-<index>");
  }
}

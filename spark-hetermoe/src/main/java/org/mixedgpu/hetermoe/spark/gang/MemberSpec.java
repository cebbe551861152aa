package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import org.mixedgpu.base.Check;

/**
 * The members of one role.
 *
 * @param members how many, each on an executor of its own
 * @param resource Spark's name of the GPU resource that an executor of this role has one of, {@code
 *     gpu-} and a generation, such as {@code gpu-hopper}
 * @param cores cores of such an executor, all used by its member
 * @param memoryMib heap of such an executor
 * @param overheadMib memory of such an executor beside its heap; tensors in host memory and
 *     exchange buffers live there
 */
public record MemberSpec(int members, String resource, int cores, long memoryMib, long overheadMib)
    implements Serializable {
  static final String PREFIX = "gpu-";

  public MemberSpec {
    Check.input(members > 0, "A role needs at least one member; found %d", members);
    Check.input(
        resource.matches("gpu-[a-z0-9]+"),
        "Resource '%s' does not name a GPU generation; write gpu- and the generation, such as"
            + " gpu-hopper",
        resource);
    Check.input(
        cores > 0 && memoryMib > 0 && overheadMib >= 0,
        "A member needs cores and memory; found %d cores, %d MiB heap, %d MiB overhead",
        cores,
        memoryMib,
        overheadMib);
  }

  /** The generation word of the resource: {@code hopper} of {@code gpu-hopper}. */
  public String generation() {
    return resource.substring(PREFIX.length());
  }
}

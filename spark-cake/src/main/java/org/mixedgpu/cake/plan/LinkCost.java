package org.mixedgpu.cake.plan;

import org.mixedgpu.base.Check;

/**
 * What reading a chunk costs over one link to the store. All chunks of a cache have the same size,
 * so that this is its speed, with what a read costs beside its bytes.
 *
 * @param alone nanoseconds from the start of a read that has the link for itself until its bytes
 *     are in the KV cache; 0 if no such read was seen
 * @param apart nanoseconds between the ends of two reads while reads are in flight: the link's
 *     throughput
 */
public record LinkCost(double alone, double apart) {
  public LinkCost {
    Check.input(
        alone >= 0 && apart > 0 && alone + apart < Double.POSITIVE_INFINITY,
        "A read costs more than 0 nanoseconds; found %s alone, %s apart",
        alone,
        apart);
  }
}

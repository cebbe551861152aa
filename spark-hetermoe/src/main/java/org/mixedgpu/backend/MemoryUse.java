package org.mixedgpu.backend;

/**
 * Device memory held through a backend.
 *
 * @param bytes allocated and not yet closed
 * @param peakBytes the most at one time
 * @param limitBytes what may not be exceeded
 * @param tensors open tensors, views not counted
 */
public record MemoryUse(long bytes, long peakBytes, long limitBytes, int tensors) {}

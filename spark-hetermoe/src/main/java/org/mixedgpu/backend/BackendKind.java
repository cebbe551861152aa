package org.mixedgpu.backend;

/** The implementations of {@link Backend}. */
public enum BackendKind {
  /** Host processor, F32, native BLAS. */
  CPU,
  /** An NVIDIA GPU of compute capability 7.0 or later; F32, BF16 or F16. */
  CUDA,
  /** Slow and obvious; in the test jar. */
  REFERENCE
}

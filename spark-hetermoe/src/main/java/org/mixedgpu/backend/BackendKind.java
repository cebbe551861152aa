package org.mixedgpu.backend;

/** The implementations of {@link Backend}. */
public enum BackendKind {
  /** Host processor, F32, native BLAS. */
  CPU,
  /** Slow and obvious; in the test jar. */
  REFERENCE
}

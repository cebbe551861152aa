package org.mixedgpu.cake.prefill;

/** Where a prompt's KV cache comes from. All modes give the same bits. */
public enum PrefillMode {
  /** Computes from the front while stored chunks are loaded from the back, until they meet. */
  CAKE,
  /** Loads nothing. */
  COMPUTE,
  /** Computes only what is not stored or can't be loaded. */
  LOAD
}

package org.mixedgpu.backend;

/** Which operand of a matrix product is stored transposed. */
public enum Transpose {
  /** out[M,N] = a[M,K] · b[K,N]. */
  NN,
  /** out[M,N] = a[M,K] · b[N,K]ᵀ: a linear layer with its weight as stored. */
  NT,
  /** out[M,N] = a[K,M]ᵀ · b[K,N]: a weight gradient. */
  TN
}

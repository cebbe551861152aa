package org.mixedgpu.hetermoe.train.bench;

/** How rows pass between the two ranks of {@link CudaZebraBenchmark}. */
enum Rows {
  NCCL,
  NETWORK,
  /** Not at all: {@link RowlessExchange}. */
  NONE
}

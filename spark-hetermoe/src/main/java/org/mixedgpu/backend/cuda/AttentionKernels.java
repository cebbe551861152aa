package org.mixedgpu.backend.cuda;

/** One implementation of attention on a GPU; all have the same result up to rounding. */
interface AttentionKernels {
  /**
   * Whether it can run such a call here.
   *
   * @param others the operands of the type of q that are not in the call
   */
  boolean takes(AttentionCall call, CudaTensor... others);

  /**
   * Queues the forward pass.
   *
   * @param logSumExp or null
   */
  void forward(AttentionCall call, CudaTensor out, CudaTensor logSumExp);

  /**
   * Queues the gradient of q.
   *
   * @param statistics what attentionStatistics of attention.cu has written
   */
  void backwardQueries(AttentionCall call, CudaTensor dQ, CudaTensor dOut, CudaTensor statistics);

  /** Queues the gradients of k and v. */
  void backwardKeys(
      AttentionCall call, CudaTensor dK, CudaTensor dV, CudaTensor dOut, CudaTensor statistics);
}

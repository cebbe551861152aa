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

  /** Queues the gradients of q, k and v. */
  void backward(AttentionCall call, AttentionGradients gradients);
}

package org.mixedgpu.backend.cuda;

/**
 * Operands of attention's backward pass beside those of the call.
 *
 * @param dQ written
 * @param dK written
 * @param dV written
 * @param dOut read
 * @param statistics two numbers of each query, from attentionStatistics of kernel file attention
 * @param progress counters, all 0, see there
 */
record AttentionGradients(
    CudaTensor dQ,
    CudaTensor dK,
    CudaTensor dV,
    CudaTensor dOut,
    CudaTensor statistics,
    CudaTensor progress) {}

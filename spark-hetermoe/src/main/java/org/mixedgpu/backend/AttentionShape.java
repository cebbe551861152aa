package org.mixedgpu.backend;

import org.mixedgpu.base.Check;

/**
 * Geometry of causal grouped-query attention.
 *
 * @param batch sequences that lie one after the other in the rows
 * @param queryHeads heads of q and of the output; a multiple of kvHeads
 * @param kvHeads heads of k and v
 * @param headDim elements of one head
 * @param scale factor on q·k before the softmax, usually headDim^-0.5
 * @param window positions a query sees, itself included; 0 for all earlier ones
 */
public record AttentionShape(
    int batch, int queryHeads, int kvHeads, int headDim, float scale, int window) {
  public AttentionShape {
    Check.input(
        batch > 0 && queryHeads > 0 && kvHeads > 0 && headDim > 0 && queryHeads % kvHeads == 0,
        "Attention needs positive sizes and query heads a multiple of KV heads; found batch %d,"
            + " query heads %d, KV heads %d, head size %d",
        batch,
        queryHeads,
        kvHeads,
        headDim);
    Check.input(window >= 0, "Attention window %d is negative; use 0 for none", window);
  }
}

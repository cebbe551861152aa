package org.mixedgpu.backend;

import org.mixedgpu.tensor.Tensor;

/**
 * The backward twins of {@link Backend}'s ops, and the optimizer. Names: {@code dX} is the gradient
 * of the loss by X. Gradients of parameters are added to what is there (several micro-batches),
 * those of matrices only where the call says so; gradients of activations are overwritten unless
 * said otherwise. Gradients of parameters are F32, gradients of activations T.
 */
public interface TrainingBackend extends Backend {

  /** dBias[N] += Σ_r dOut[r,N]; dBias is F32. */
  void addBiasBackward(Tensor dBias, Tensor dOut);

  /**
   * dGate and dUp of product = silu(gate)·up from dOut, and the product once more, the same bits,
   * so that nobody has to keep it; dGate and dUp may each be dOut, gate or up in place, product
   * none.
   */
  void swigluBackward(
      Tensor dGate, Tensor dUp, Tensor product, Tensor dOut, Tensor gate, Tensor up);

  /** dX[R,H] and dGate[R] of {@link #addGated}, from dOut[R,H]. */
  void addGatedBackward(Tensor dX, Tensor dGate, Tensor dOut, Tensor x, Tensor gate);

  /**
   * dTable[index[i]] += dOut[i], in order of i: the backward of the embedding lookup. dTable is
   * F32.
   */
  void scatterAddRows(Tensor dTable, Tensor dOut, Tensor index);

  /**
   * Backward of {@link #combineRows} with weights: dSlots[slotOf[r,j]] = weights[r,j] · dOut[r] and
   * dWeights[r,j] = dOut[r] · slots[slotOf[r,j]]. dSlots may be slots; weights and dWeights are
   * F32.
   */
  void combineRowsBackward(
      Tensor dSlots, Tensor dWeights, Tensor dOut, Tensor slots, Tensor slotOf, Tensor weights);

  /**
   * dW[e,N,K] (+)= dOut[rows_e,N]ᵀ · in[rows_e,K] for each expert's group of rows.
   *
   * @param dW F32 [E,N,K]
   * @param offsets I32 [E+1], ascending
   * @param accumulate false overwrites all of dW, also NaN: with zeros where a group is empty; true
   *     adds to it
   */
  void groupedMatmulWeightGradient(
      Tensor dW, Tensor dOut, Tensor in, Tensor offsets, boolean accumulate);

  /**
   * dX of rmsNorm (overwritten; may be dOut), dGain[N] added to; null dGain is skipped. dGain, gain
   * and inverseRms are F32.
   */
  void rmsNormBackward(
      Tensor dX, Tensor dGain, Tensor dOut, Tensor x, Tensor gain, Tensor inverseRms);

  /** Gradients of {@link #attention}; out and logSumExp (F32) are what its forward pass wrote. */
  void attentionBackward(
      Tensor dQ,
      Tensor dK,
      Tensor dV,
      Tensor dOut,
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor out,
      Tensor logSumExp,
      AttentionShape shape);

  /**
   * Gradient by the router's logits. With p = softmax(logits), the k chosen weights contribute
   * through the softmax (and the renormalisation, if used); {@code auxByExpert}, the derivative of
   * a balancing loss by p[r,e], equal for all rows, is added to dp; zScale · logsumexp(logits[r]) ·
   * p[r,e] is added to the result (zScale = 2·coefficient/rows for z-loss = mean(logsumexp²)). All
   * floating-point operands are F32.
   *
   * @param dLogits [R,E]
   * @param dWeights [R,k]
   * @param probs [R,E] of the forward pass
   * @param weights [R,k] of the forward pass
   * @param experts I32 [R,k]
   * @param logits [R,E]; needed where zScale is not 0, else may be null
   * @param auxByExpert [E] or null
   */
  void routerBackward(
      Tensor dLogits,
      Tensor dWeights,
      Tensor probs,
      Tensor weights,
      Tensor experts,
      Tensor logits,
      boolean renormalise,
      Tensor auxByExpert,
      float zScale);

  /** out[1] = Σ x², summed in double or in a fixed tree, so that the bits do not vary. F32. */
  void sumSquares(Tensor out, Tensor x);

  /** out[N] = Σ_r x[r,N]; the mean router probability of each expert, for instance. F32. */
  void sumRows(Tensor out, Tensor x);

  /**
   * One AdamW step on param, firstMoment and secondMoment. All operands have one shape; all but
   * working are F32.
   *
   * @param working T: gets the new param rounded to nearest even; null where layers use param
   *     itself, as they always do where T is F32
   */
  void adamW(
      Tensor param,
      Tensor firstMoment,
      Tensor secondMoment,
      Tensor gradient,
      Tensor working,
      AdamWStep step);
}

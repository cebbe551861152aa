package org.mixedgpu.nn;

import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.mixedgpu.base.Check;

/**
 * What there is to know about a model but its weights. Widths are in elements.
 *
 * @param vocab rows of the embedding
 * @param hidden width of the residual stream
 * @param heads query heads
 * @param kvHeads key and value heads
 * @param headDim elements of one head; need not be hidden / heads
 * @param intermediate width of the feed-forward network of dense layers
 * @param rmsEps epsilon of every RMS norm
 * @param qkvBias bias on the query, key and value projections
 * @param outBias bias on the attention output projection
 * @param mlpBias bias on the dense feed-forward projections
 * @param slidingWindow for each layer how many positions a query sees, itself included; 0 for all
 * @param tied whether the LM head is the embedding
 * @param moe empty for dense models
 * @param initializerRange standard deviation of newly initialized weights
 * @param maxPositions longest sequence the model was made for
 * @param bosId id of the first token of a text; -1 for none
 * @param eosIds ids that end a text; may be empty
 */
public record ModelConfig(
    ModelFamily family,
    int vocab,
    int hidden,
    int layers,
    int heads,
    int kvHeads,
    int headDim,
    int intermediate,
    float rmsEps,
    RopeConfig rope,
    boolean qkvBias,
    boolean outBias,
    boolean mlpBias,
    QkNorm qkNorm,
    List<Integer> slidingWindow,
    boolean tied,
    Optional<MoeConfig> moe,
    float initializerRange,
    int maxPositions,
    int bosId,
    List<Integer> eosIds) {
  public ModelConfig {
    slidingWindow = List.copyOf(slidingWindow);
    eosIds = List.copyOf(eosIds);
    Check.input(
        vocab > 0 && hidden > 0 && layers > 0 && maxPositions > 0,
        "A model needs a positive vocabulary, width, depth and context; found %d, %d, %d, %d",
        vocab,
        hidden,
        layers,
        maxPositions);
    Check.input(
        heads > 0 && kvHeads > 0 && heads % kvHeads == 0 && headDim > 0 && headDim % 2 == 0,
        "Attention needs query heads a multiple of KV heads and an even head size; found %d query"
            + " heads, %d KV heads, head size %d",
        heads,
        kvHeads,
        headDim);
    Check.input(
        slidingWindow.size() == layers,
        "A model of %d layers needs as many sliding windows; found %d",
        layers,
        slidingWindow.size());
    int window = Collections.min(slidingWindow);
    Check.input(window >= 0, "Sliding window %d is negative; use 0 for none", window);
    if (moe.isPresent()) {
      int flags = moe.get().sparse().size();
      Check.input(
          flags == layers, "A model of %d layers needs as many MoE flags; found %d", layers, flags);
    }
    boolean dense = moe.isEmpty() || moe.get().sparseLayers() < layers;
    Check.input(
        !dense || intermediate > 0,
        "Dense layers need a positive intermediate width; found %d",
        intermediate);
  }

  /** The same MoE model with other coefficients of the balancing loss and the z-loss. */
  public ModelConfig withLossCoefficients(float auxCoefficient, float zCoefficient) {
    return withMoe(requireMoe().withCoefficients(auxCoefficient, zCoefficient));
  }

  public boolean isMoe(int layer) {
    return moe.isPresent() && moe.get().sparse().get(layer);
  }

  /** Positions a query of this layer sees, itself included; 0 for all earlier ones. */
  public int slidingWindow(int layer) {
    return slidingWindow.get(layer);
  }

  /** Width of the query projection: heads times head size. */
  public int queryWidth() {
    return heads * headDim;
  }

  /** Width of the key and of the value projection: KV heads times head size. */
  public int kvWidth() {
    return kvHeads * headDim;
  }

  /** The MoE facts of a model that has some; {@code BUG} for a dense model. */
  public MoeConfig requireMoe() {
    Check.that(moe.isPresent(), "A dense %s model has no experts", family);
    return moe.get();
  }

  /** The same model with other MoE facts. */
  public ModelConfig withMoe(MoeConfig other) {
    return new ModelConfig(
        family,
        vocab,
        hidden,
        layers,
        heads,
        kvHeads,
        headDim,
        intermediate,
        rmsEps,
        rope,
        qkvBias,
        outBias,
        mlpBias,
        qkNorm,
        slidingWindow,
        tied,
        Optional.of(other),
        initializerRange,
        maxPositions,
        bosId,
        eosIds);
  }
}

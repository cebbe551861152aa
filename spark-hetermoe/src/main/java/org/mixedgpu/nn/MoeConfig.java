package org.mixedgpu.nn;

import java.util.List;
import org.mixedgpu.base.Check;

/**
 * The mixture-of-experts part of a model.
 *
 * @param experts routed experts of each MoE layer
 * @param topK experts per token
 * @param renormalise whether the chosen probabilities are divided by their sum
 * @param intermediate width of one routed expert
 * @param sharedIntermediate width of the gated shared expert (Qwen2-MoE); 0 for none
 * @param sparse for each decoder layer whether it is a MoE layer
 * @param auxCoefficient factor on the load-balancing loss; 0 for none
 * @param zCoefficient factor on the router z-loss; 0 for none
 */
public record MoeConfig(
    int experts,
    int topK,
    boolean renormalise,
    int intermediate,
    int sharedIntermediate,
    List<Boolean> sparse,
    float auxCoefficient,
    float zCoefficient) {
  public MoeConfig {
    sparse = List.copyOf(sparse);
    Check.input(
        experts > 0 && topK > 0 && topK <= experts && intermediate > 0 && sharedIntermediate >= 0,
        "A mixture of experts needs 1 <= top k <= experts and positive widths; found %d experts,"
            + " top %d, width %d, shared width %d",
        experts,
        topK,
        intermediate,
        sharedIntermediate);
    Check.input(
        auxCoefficient >= 0 && zCoefficient >= 0,
        "Loss coefficients must not be negative; found %s (balance) and %s (z)",
        auxCoefficient,
        zCoefficient);
  }

  MoeConfig withLossCoefficients(float aux, float z) {
    return new MoeConfig(
        experts, topK, renormalise, intermediate, sharedIntermediate, sparse, aux, z);
  }

  /** How many decoder layers are MoE layers. */
  public int sparseLayers() {
    return (int) sparse.stream().filter(s -> s).count();
  }

  /** The same experts with other factors on the auxiliary losses. */
  public MoeConfig withCoefficients(float aux, float z) {
    return new MoeConfig(
        experts, topK, renormalise, intermediate, sharedIntermediate, sparse, aux, z);
  }
}

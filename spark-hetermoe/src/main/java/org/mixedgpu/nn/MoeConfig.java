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
 * @param idleAuxCoefficient where there is no load-balancing loss, the factor that the model's
 *     configuration has for it all the same; changes nothing here and is kept for its next user
 */
public record MoeConfig(
    int experts,
    int topK,
    boolean renormalise,
    int intermediate,
    int sharedIntermediate,
    List<Boolean> sparse,
    float auxCoefficient,
    float zCoefficient,
    float idleAuxCoefficient) {
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
        auxCoefficient >= 0 && zCoefficient >= 0 && idleAuxCoefficient >= 0,
        "Loss coefficients must not be negative; found %s (balance), %s (z) and %s"
            + " (balance, idle)",
        auxCoefficient,
        zCoefficient,
        idleAuxCoefficient);
    Check.input(
        auxCoefficient == 0 || idleAuxCoefficient == 0,
        "A balancing loss has one coefficient; found %s, and %s that is idle",
        auxCoefficient,
        idleAuxCoefficient);
  }

  /** Without an idle coefficient. */
  public MoeConfig(
      int experts,
      int topK,
      boolean renormalise,
      int intermediate,
      int sharedIntermediate,
      List<Boolean> sparse,
      float auxCoefficient,
      float zCoefficient) {
    this(
        experts,
        topK,
        renormalise,
        intermediate,
        sharedIntermediate,
        sparse,
        auxCoefficient,
        zCoefficient,
        0);
  }

  /** The load-balancing loss's factor, in use or not. */
  public float namedAuxCoefficient() {
    return auxCoefficient > 0 ? auxCoefficient : idleAuxCoefficient;
  }

  /** How many decoder layers are MoE layers. */
  public int sparseLayers() {
    return (int) sparse.stream().filter(s -> s).count();
  }

  /** The same experts with other factors on the auxiliary losses. */
  public MoeConfig withCoefficients(float aux, float z) {
    return new MoeConfig(
        experts,
        topK,
        renormalise,
        intermediate,
        sharedIntermediate,
        sparse,
        aux,
        z,
        aux > 0 ? 0 : namedAuxCoefficient());
  }
}

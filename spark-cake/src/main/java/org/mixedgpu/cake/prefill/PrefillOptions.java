package org.mixedgpu.cake.prefill;

import org.mixedgpu.base.Check;

/**
 * How a {@link PrefillRunner} works.
 *
 * @param mode where KV comes from
 * @param maxTokens longest prompt, together with what is scored after it; the KV cache holds as
 *     many tokens
 * @param readsInFlight chunks read at one time, each with a buffer of a chunk's size
 * @param rate of the link to the store
 */
public record PrefillOptions(PrefillMode mode, int maxTokens, int readsInFlight, IoRate rate) {
  public PrefillOptions {
    Check.input(maxTokens > 0, "maxTokens must be positive; found %d", maxTokens);
    Check.input(readsInFlight > 0, "readsInFlight must be positive; found %d", readsInFlight);
  }

  public static PrefillOptions of(PrefillMode mode, int maxTokens) {
    return new PrefillOptions(mode, maxTokens, 4, IoRate.unlimited());
  }
}

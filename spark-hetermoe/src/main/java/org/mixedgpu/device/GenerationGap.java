package org.mixedgpu.device;

/**
 * How much longer one generation takes than another, measured separately for the two halves of a
 * layer: this difference is why they run on different GPUs.
 *
 * @param fasterCard card that was measured
 * @param slowerCard card that was measured
 * @param attention times slower at the sequence length nearest to the one asked for
 * @param sequence that length
 * @param experts times slower, at any length
 */
public record GenerationGap(
    String fasterCard, String slowerCard, Quantity attention, int sequence, Quantity experts) {}

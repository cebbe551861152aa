package org.mixedgpu.cake.prefill;

import java.util.List;

/**
 * What one prefill gave and what it cost.
 *
 * @param logits of the next token, one per vocabulary entry; overwritten by the next prefill
 * @param hidden the last token's state after the final norm; overwritten by the next prefill
 * @param tokens of the prompt
 * @param computed tokens computed now
 * @param loaded tokens whose KV came from the store
 * @param reused tokens whose KV was in memory, left from the prompt before
 * @param overtaken reads that began and that the compute side overtook; their bytes went nowhere
 * @param ttftNanos from the start of this prompt's prefill until the logits were in host memory,
 *     copies to the device included
 * @param problems chunks that could not be loaded and were computed instead, one line each
 */
public record PrefillResult(
    float[] logits,
    float[] hidden,
    int tokens,
    int computed,
    int loaded,
    int reused,
    int overtaken,
    long ttftNanos,
    List<String> problems) {}

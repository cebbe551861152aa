package org.mixedgpu.cake.plan;

import org.mixedgpu.base.Check;

/**
 * What the planner knows of one prompt. Treat the array as read-only.
 *
 * @param chunks one word per whole chunk that may be shared: a hash of the whole prefix up to and
 *     including that chunk, so that equal words mean equal prefixes. A collision makes a plan worse
 *     and no answer wrong.
 * @param tokens all tokens of the prompt, the rest after the last whole chunk included; 0 for a row
 *     that nothing can be computed for
 */
public record PromptFacts(long[] chunks, int tokens) {

  public PromptFacts {
    Check.input(tokens >= 0, "A prompt has no negative number of tokens; found %d", tokens);
  }
}

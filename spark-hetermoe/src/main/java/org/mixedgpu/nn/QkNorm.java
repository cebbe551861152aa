package org.mixedgpu.nn;

/** Where queries and keys are RMS-normalised, before the rotary position embedding. */
public enum QkNorm {
  NONE,
  /** Each head of each row, with one gain of head size (Qwen3). */
  PER_HEAD,
  /** Each row over all heads, with a gain of the projected width (OLMoE). */
  WHOLE
}

package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;

/** All that a prefill decides, to the bit. */
record Bits(int[] logits, byte[] kv) {
  static Bits of(PrefillRunner runner, PrefillResult result) {
    int[] logits = new int[result.logits().length];
    for (int i = 0; i < logits.length; i++) {
      logits[i] = Float.floatToRawIntBits(result.logits()[i]);
    }
    return new Bits(logits, runner.kv(0, result.tokens()));
  }

  void assertSame(Bits other) {
    assertThat(other.logits).isEqualTo(logits);
    assertThat(other.kv).isEqualTo(kv);
  }
}

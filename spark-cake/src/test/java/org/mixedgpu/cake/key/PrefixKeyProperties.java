package org.mixedgpu.cake.key;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;
import org.mixedgpu.tensor.DType;

class PrefixKeyProperties {
  static KvLayout layout(int chunkTokens) {
    return new KvLayout("ab".repeat(32), 2, 2, 4, DType.F32, "theta=10000", chunkTokens);
  }

  @Property
  void differentPrefixesDiffer(
      @ForAll @Size(min = 4, max = 24) int[] a,
      @ForAll @Size(min = 4, max = 24) int[] b,
      @ForAll @IntRange(min = 1, max = 4) int chunk) {
    PrefixKey[] ofA = PrefixKey.chain(layout(chunk), a);
    PrefixKey[] ofB = PrefixKey.chain(layout(chunk), b);
    for (int i = 0; i < ofA.length; i++) {
      for (int j = 0; j < ofB.length; j++) {
        boolean same =
            Arrays.equals(Arrays.copyOf(a, (i + 1) * chunk), Arrays.copyOf(b, (j + 1) * chunk));
        assertThat(ofA[i].equals(ofB[j])).isEqualTo(same);
      }
    }
  }

  @Property
  void aChainIsWhatStepByStepHashingGives(
      @ForAll @Size(max = 40) int[] tokens, @ForAll @IntRange(min = 1, max = 7) int chunk) {
    PrefixKey[] chain = PrefixKey.chain(layout(chunk), tokens);
    assertThat(chain).hasSize(tokens.length / chunk);
    PrefixKey key = PrefixKey.root(layout(chunk));
    for (int i = 0; i < chain.length; i++) {
      key = key.child(Arrays.copyOfRange(tokens, i * chunk, (i + 1) * chunk), 0, chunk);
      assertThat(chain[i]).isEqualTo(key);
      assertThat(PrefixKey.of(key.toBytes())).isEqualTo(key).hasSameHashCodeAs(chain[i]);
    }
  }

  /** Without the count, tokens [1][2,3] and [1,2][3] would only be told apart by luck. */
  @Property
  void theSameTokensCutElsewhereAreOtherKeys(
      @ForAll @Size(min = 2, max = 12) int[] tokens, @ForAll @IntRange(min = 1, max = 11) int cut) {
    PrefixKey root = PrefixKey.root(layout(1));
    int at = 1 + cut % (tokens.length - 1);
    PrefixKey whole = root.child(tokens, 0, tokens.length);
    PrefixKey parts = root.child(tokens, 0, at).child(tokens, at, tokens.length - at);
    assertThat(parts).isNotEqualTo(whole);
  }

  @Property
  void textCannotMoveFromOneFieldToTheNext(@ForAll @Size(max = 6) List<Character> rope) {
    String text = rope.stream().map(String::valueOf).reduce("", String::concat);
    Set<PrefixKey> keys = new HashSet<>();
    for (DType type : DType.values()) {
      for (String variant : List.of(text, text + type.name(), type.name() + text)) {
        for (int kvHeads : new int[] {1, 4}) {
          for (int headDim : new int[] {1, 4}) {
            keys.add(
                PrefixKey.root(
                    new KvLayout("0".repeat(64), 1, kvHeads, headDim, type, variant, 8)));
          }
        }
      }
    }
    int variants = text.isEmpty() ? 2 : 3;
    assertThat(keys.size()).isGreaterThanOrEqualTo(DType.values().length * (variants - 1) * 4);
  }
}

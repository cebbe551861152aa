package org.mixedgpu.hetermoe.spark.data;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.BitSet;
import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;

class SequenceOrderProperties {
  @Property(tries = 200)
  void anEpochVisitsEverySequenceOnce(
      @ForAll @IntRange(min = 1, max = 3000) int count,
      @ForAll long seed,
      @ForAll @IntRange(min = 0, max = 5) int epoch) {
    SequenceOrder order = new SequenceOrder(count, seed);
    BitSet seen = new BitSet();
    for (int i = 0; i < count; i++) {
      seen.set(Math.toIntExact(order.at((long) epoch * count + i)));
    }
    assertThat(seen.cardinality()).isEqualTo(count);
    assertThat(seen.length()).isEqualTo(count);
  }

  /** Of 1000 sequences about one stays in place in a random permutation; 20 would be a pattern. */
  @Property(tries = 100)
  void seedsAndEpochsShuffleDifferently(@ForAll long seed) {
    int count = 1000;
    SequenceOrder order = new SequenceOrder(count, seed);
    SequenceOrder other = new SequenceOrder(count, seed + 1);
    int inPlace = 0;
    int asNextEpoch = 0;
    int asOtherSeed = 0;
    for (int i = 0; i < count; i++) {
      inPlace += order.at(i) == i ? 1 : 0;
      asNextEpoch += order.at(i) == order.at(count + i) ? 1 : 0;
      asOtherSeed += order.at(i) == other.at(i) ? 1 : 0;
    }
    assertThat(List.of(inPlace, asNextEpoch, asOtherSeed)).allMatch(n -> n < 20);
  }
}

package org.mixedgpu.hetermoe.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.List;
import net.jqwik.api.Assume;
import net.jqwik.api.Example;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;
import org.mixedgpu.base.MixedGpuException;

class ExpertPlacementProperties {

  @Property
  void everyExpertHasOneOwnerAmongTheExpertRanks(
      @ForAll @Size(min = 1, max = 6) List<@IntRange(min = 0, max = 17) Integer> experts,
      @ForAll @IntRange(min = 1, max = 4) int attention,
      @ForAll @IntRange(min = 1, max = 9) int expert) {
    int[] byLayer = experts.stream().mapToInt(Integer::intValue).toArray();
    Assume.that(Arrays.stream(byLayer).sum() >= expert);
    ExpertPlacement placement = ExpertPlacement.even(byLayer, attention, expert);
    int[] totals = new int[expert];
    for (int layer = 0; layer < byLayer.length; layer++) {
      int smallest = Integer.MAX_VALUE;
      int largest = 0;
      int sum = 0;
      for (int n = 0; n < expert; n++) {
        int[] held = placement.expertsOf(layer, attention + n);
        for (int e : held) {
          assertThat(placement.owner(layer, e)).isEqualTo(attention + n);
        }
        assertThat(placement.runs(layer, attention + n)).hasSize(held.length == 0 ? 0 : 1);
        smallest = Math.min(smallest, held.length);
        largest = Math.max(largest, held.length);
        sum += held.length;
        totals[n] += held.length;
      }
      assertThat(sum).isEqualTo(byLayer[layer]);
      assertThat(largest - smallest).isLessThanOrEqualTo(1);
      assertThat(placement.runs(layer).stream().mapToInt(ExpertRun::count).sum())
          .isEqualTo(byLayer[layer]);
    }
    int most = Arrays.stream(totals).max().orElseThrow();
    int fewest = Arrays.stream(totals).min().orElseThrow();
    assertThat(most - fewest).isLessThanOrEqualTo(1);
  }

  @Property
  void runsCoverAnyPlacementInOrder(
      @ForAll @Size(min = 1, max = 12) List<@IntRange(min = 0, max = 3) Integer> owners) {
    int[] of = owners.stream().mapToInt(Integer::intValue).toArray();
    ExpertPlacement placement = ExpertPlacement.of(4, new int[][] {of});
    int next = 0;
    for (ExpertRun run : placement.runs(0)) {
      assertThat(run.first()).isEqualTo(next);
      for (int e = 0; e < run.count(); e++) {
        assertThat(of[next++]).isEqualTo(run.rank());
      }
    }
    assertThat(next).isEqualTo(of.length);
  }

  @Example
  void moreRanksThanExpertsAreRefusedWithBothNumbers() {
    assertThatThrownBy(() -> ExpertPlacement.even(new int[] {2, 0}, 1, 3))
        .isInstanceOf(MixedGpuException.class)
        .hasMessageContaining("2 experts on 3 expert ranks");
  }

  @Example
  void anOwnerOutsideTheGangIsRefused() {
    assertThatThrownBy(() -> ExpertPlacement.of(2, new int[][] {{0, 2}}))
        .hasMessageContaining("Expert 1 of layer 0 is placed on rank 2");
  }
}

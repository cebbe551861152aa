package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;
import org.mixedgpu.cake.plan.ComputeCost;
import org.mixedgpu.cake.plan.LinkCost;

class PacesTest {
  private final ComputePace compute = new ComputePace();
  private final LinkPace link = new LinkPace();

  @Test
  void nothingIsKnownBeforeTheFirst() {
    assertThat(compute.cost()).isEmpty();
    assertThat(link.cost()).isEmpty();
  }

  @Test
  void theCostOfAChunkFollowsItsPosition() {
    compute.computed(3, 130);
    assertThat(compute.cost()).contains(new ComputeCost(130, 0));
    for (int chunk = 0; chunk < 6; chunk++) {
      compute.computed(chunk, 100 + 10 * chunk);
    }
    ComputeCost cost = compute.cost().orElseThrow();
    assertThat(cost.of(0)).isCloseTo(100, within(1e-6));
    assertThat(cost.of(20)).isCloseTo(300, within(1e-6));
  }

  @Test
  void whatIsOldCountsLittle() {
    for (int i = 0; i < 400; i++) {
      compute.computed(i % 8, i < 200 ? 1000 : 100);
    }
    assertThat(compute.cost().orElseThrow().of(4)).isCloseTo(100, within(5.0));
  }

  /** Noise must not make chunks cheaper the further back they lie, nor the first one free. */
  @Test
  void theLineNeverFallsAndNeverStartsBelowZero() {
    compute.computed(0, 500);
    compute.computed(1, 100);
    assertThat(compute.cost().orElseThrow().growth()).isZero();
    ComputePace steep = new ComputePace();
    steep.computed(1, 10);
    steep.computed(2, 100);
    assertThat(steep.cost().orElseThrow().first()).isZero();
    assertThat(steep.cost().orElseThrow().of(2)).isPositive();
  }

  @Test
  void readsMoveTheLinksCost() {
    link.prompt();
    link.read(100);
    assertThat(link.cost()).contains(new LinkCost(0, 100));
    link.readAlone(150);
    link.read(200);
    LinkCost cost = link.cost().orElseThrow();
    assertThat(cost.alone()).isEqualTo(150);
    assertThat(cost.apart()).isBetween(100.0, 200.0);
  }

  /** Else a link on which no read ends would stay unknown, and be tried with every prompt. */
  @Test
  void anOvertakenReadSaysThatTheLinkIsSlowUntilOneEnds() {
    link.overtaken(300);
    assertThat(link.cost()).contains(new LinkCost(0, 600));
    link.read(100);
    assertThat(link.cost()).contains(new LinkCost(0, 100));
  }

  @Test
  void aLinkThatWasNotUsedForSomePromptsIsTriedAgain() {
    link.overtaken(300);
    for (int i = 0; i < 16; i++) {
      link.prompt();
      assertThat(link.cost()).isPresent();
    }
    link.prompt();
    assertThat(link.cost()).isEmpty();
  }
}

package org.mixedgpu.cake.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Optional;
import org.junit.jupiter.api.Test;

/** Computing a chunk takes 100 in these. */
class RacePlannerTest {
  private static RaceFacts facts(double read, int front, double frontNanos, int inFlight) {
    return facts(read, front, frontNanos, inFlight, 0);
  }

  private static RaceFacts facts(
      double read, int front, double frontNanos, int inFlight, double linkNanos) {
    return new RaceFacts(
        Optional.of(new ComputeCost(100, 0)),
        Optional.of(new LinkCost(read, read)),
        front,
        frontNanos,
        false,
        inFlight,
        linkNanos,
        100);
  }

  private static RaceFacts unknown(int inFlight) {
    return new RaceFacts(
        Optional.of(new ComputeCost(100, 0)), Optional.empty(), 0, 0, false, inFlight, 0, 100);
  }

  @Test
  void beforeTheLinkIsKnownOneReadAtATimeAndNoWaiting() {
    assertThat(RacePlanner.begins(unknown(0), 7)).isTrue();
    assertThat(RacePlanner.begins(unknown(1), 6)).isFalse();
    assertThat(RacePlanner.waits(unknown(1), 7, 0)).isZero();
    assertThat(RacePlanner.waits(unknown(0), 7, 1)).isZero();
  }

  @Test
  void aReadBeginsIfItEndsBeforeTheComputeSideWouldHaveDoneWithoutIt() {
    assertThat(RacePlanner.begins(facts(740, 0, 0, 0), 7)).isTrue();
    assertThat(RacePlanner.begins(facts(760, 0, 0, 0), 7)).isFalse();
    assertThat(RacePlanner.begins(facts(740, 0, 50, 0), 7)).isFalse();
    assertThat(RacePlanner.begins(facts(740, 1, 0, 0), 7)).isFalse();
  }

  /** At a quarter of balance, of 8 chunks one is worth reading; at balance, half of them. */
  @Test
  void readsInFlightComeFirst() {
    assertThat(RacePlanner.begins(facts(400, 0, 0, 0), 7)).isTrue();
    assertThat(RacePlanner.begins(facts(400, 0, 0, 1), 6)).isFalse();
    assertThat(RacePlanner.begins(facts(100, 0, 0, 3), 4)).isTrue();
    assertThat(RacePlanner.begins(facts(100, 0, 0, 4), 3)).isFalse();
    assertThat(RacePlanner.begins(facts(100, 0, 0, 4), 4)).isFalse();
    assertThat(RacePlanner.begins(facts(100, 0, 0, 4, 75), 4)).isTrue();
  }

  @Test
  void chunksFurtherBackCostMoreAndAreReachedLater() {
    ComputeCost grows = new ComputeCost(100, 10);
    assertThat(grows.of(3)).isEqualTo(130);
    assertThat(grows.of(2, 5)).isEqualTo(120 + 130 + 140);
    assertThat(grows.of(5, 2)).isZero();
    RaceFacts facts =
        new RaceFacts(
            Optional.of(grows), Optional.of(new LinkCost(990, 990)), 0, 0, false, 0, 0, 100);
    // 100 + 110 + ... + 160 = 910 until chunk 7 is reached, and half its 170.
    assertThat(RacePlanner.begins(facts, 7)).isTrue();
    assertThat(RacePlanner.begins(facts, 6)).isFalse();
  }

  @Test
  void manyReadsAtOnceAreAsFastAsOneWhereTheLinkCanDoThat() {
    RaceFacts parallel =
        new RaceFacts(
            Optional.of(new ComputeCost(100, 0)),
            Optional.of(new LinkCost(400, 100)),
            0,
            0,
            false,
            3,
            0,
            100);
    assertThat(RacePlanner.begins(parallel, 4)).isTrue();
    assertThat(RacePlanner.begins(parallel, 3)).isFalse();
  }

  @Test
  void aReadThatIsNearlyThereIsWaitedForAndALateOneIsNot() {
    assertThat(RacePlanner.waits(facts(200, 4, 0, 1, 150), 4, 0)).isEqualTo(75 + 10);
    assertThat(RacePlanner.waits(facts(200, 4, 0, 1, 110), 4, 0)).isZero();
    assertThat(RacePlanner.waits(facts(200, 4, 0, 1, 199), 4, 0)).isEqualTo(1.5 + 10);
    // Late: it is expected to last a quarter of what it has.
    assertThat(RacePlanner.waits(facts(200, 4, 0, 1, 240), 4, 0)).isEqualTo(90 + 10);
    assertThat(RacePlanner.waits(facts(200, 4, 0, 1, 400), 4, 0)).isZero();
    assertThat(RacePlanner.waits(facts(20, 4, 0, 1, 10), 4, 0)).isEqualTo(15 + 10);
  }

  @Test
  void allIsLeftToAFastLink() {
    assertThat(RacePlanner.waits(facts(9, 0, 0, 0), 0, 8)).isEqualTo(100);
    assertThat(RacePlanner.waits(facts(11, 0, 0, 0), 0, 8)).isZero();
    RaceFacts left =
        new RaceFacts(
            Optional.of(new ComputeCost(100, 0)),
            Optional.of(new LinkCost(11, 11)),
            0,
            0,
            true,
            4,
            0,
            100);
    assertThat(RacePlanner.begins(left, 0)).isTrue();
  }

  @Test
  void impossibleCostsAreRefused() {
    assertThatThrownBy(() -> new LinkCost(1, 0)).hasMessageContaining("more than 0 nanoseconds");
    assertThatThrownBy(() -> new ComputeCost(-1, 0)).hasMessageContaining("found -1");
  }
}

package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.locks.Condition;
import org.junit.jupiter.api.Test;

class IoRateTest {
  private static final class Hand implements Clock {
    long now = 1_000;
    long slept;

    @Override
    public long nanoTime() {
      return now;
    }

    /** Runs before time passes: what another thread does meanwhile. */
    Runnable meanwhile = () -> {};

    long wakesAfter = Long.MAX_VALUE;

    @Override
    public long await(Condition condition, long nanos) {
      meanwhile.run();
      long passed = Math.min(nanos, wakesAfter);
      slept += passed;
      now += passed;
      return nanos - passed;
    }
  }

  private final Hand clock = new Hand();

  @Test
  void bytesTakeTheirTimeOnTheLink() throws Exception {
    IoRate rate = new IoRate(1e9, clock);
    IoRate.Turn turn = rate.begin(1000);
    clock.now += 300;
    rate.finish(turn);
    assertThat(clock.slept).isEqualTo(700);
  }

  /** Else a loader that walks backwards would get its chunks in any order. */
  @Test
  void readsShareTheLinkInTheOrderInWhichTheyBegan() throws Exception {
    IoRate rate = new IoRate(1e9, clock);
    IoRate.Turn first = rate.begin(1000);
    IoRate.Turn second = rate.begin(1000);
    rate.finish(second);
    assertThat(clock.slept).isEqualTo(2000);
    rate.finish(first);
    assertThat(clock.slept).isEqualTo(2000);
  }

  @Test
  void idleTimeIsNotSavedUp() throws Exception {
    IoRate rate = new IoRate(1e9, clock);
    clock.now += 1_000_000;
    rate.finish(rate.begin(1000));
    assertThat(clock.slept).isEqualTo(1000);
  }

  @Test
  void aReadSlowerThanTheLinkIsNotDelayed() throws Exception {
    IoRate rate = new IoRate(1e9, clock);
    IoRate.Turn turn = rate.begin(1000);
    clock.now += 5000;
    rate.finish(turn);
    IoRate unlimited = new IoRate(0, clock);
    unlimited.finish(unlimited.begin(Long.MAX_VALUE));
    assertThat(clock.slept).isZero();
    assertThatThrownBy(() -> new IoRate(-1, clock)).hasMessageContaining("bytes per second");
  }

  /** Of two reads the first is given up after 400 of its 1000: the second needs its own 1000. */
  @Test
  void whatIsGivenUpIsNotChargedToTheNext() throws Exception {
    IoRate rate = new IoRate(1e9, clock);
    IoRate.Turn first = rate.begin(1000);
    IoRate.Turn second = rate.begin(1000);
    clock.now += 400;
    rate.giveUp(first);
    rate.finish(first);
    assertThat(clock.slept).isZero();
    rate.finish(second);
    assertThat(clock.slept).isEqualTo(1000);
    rate.giveUp(second);
    rate.finish(rate.begin(10));
    assertThat(clock.slept).isEqualTo(1010);
  }

  @Test
  void givingUpAReadThatWaitsForItsTurnFreesThoseBehindIt() throws Exception {
    IoRate rate = new IoRate(1e9, clock);
    rate.begin(1000);
    IoRate.Turn second = rate.begin(1000);
    IoRate.Turn third = rate.begin(1000);
    clock.now += 400;
    rate.giveUp(second);
    rate.finish(third);
    assertThat(clock.slept).isEqualTo(1600);
  }

  @Test
  void aReadGivenUpWhileItWaitsReturns() throws Exception {
    IoRate rate = new IoRate(1e9, clock);
    IoRate.Turn turn = rate.begin(1_000_000);
    clock.wakesAfter = 400;
    clock.meanwhile = () -> rate.giveUp(turn);
    rate.finish(turn);
    assertThat(clock.slept).isEqualTo(400);
  }
}

package org.mixedgpu.cake.prefill;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class IoRateTest {
  private static final class Hand implements Clock {
    long now = 1_000;
    long slept;

    @Override
    public long nanoTime() {
      return now;
    }

    @Override
    public void sleep(long nanos) {
      slept += nanos;
      now += nanos;
    }
  }

  private final Hand clock = new Hand();

  @Test
  void bytesTakeTheirTimeOnTheLink() {
    IoRate rate = new IoRate(1e9, clock);
    long end = rate.begin(1000);
    clock.now += 300;
    rate.finish(end);
    assertThat(clock.slept).isEqualTo(700);
  }

  /** Else a loader that walks backwards would get its chunks in any order. */
  @Test
  void readsShareTheLinkInTheOrderInWhichTheyBegan() {
    IoRate rate = new IoRate(1e9, clock);
    long first = rate.begin(1000);
    long second = rate.begin(1000);
    assertThat(second - first).isEqualTo(1000);
    rate.finish(second);
    assertThat(clock.slept).isEqualTo(2000);
    rate.finish(first);
    assertThat(clock.slept).isEqualTo(2000);
  }

  @Test
  void idleTimeIsNotSavedUp() {
    IoRate rate = new IoRate(1e9, clock);
    clock.now += 1_000_000;
    rate.finish(rate.begin(1000));
    assertThat(clock.slept).isEqualTo(1000);
  }

  @Test
  void aReadSlowerThanTheLinkIsNotDelayed() {
    IoRate rate = new IoRate(1e9, clock);
    long end = rate.begin(1000);
    clock.now += 5000;
    rate.finish(end);
    IoRate unlimited = new IoRate(0, clock);
    unlimited.finish(unlimited.begin(Long.MAX_VALUE));
    assertThat(clock.slept).isZero();
    assertThatThrownBy(() -> new IoRate(-1, clock)).hasMessageContaining("bytes per second");
  }
}

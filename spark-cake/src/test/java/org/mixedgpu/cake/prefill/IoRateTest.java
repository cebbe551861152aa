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
    long begun = rate.begin();
    clock.now += 300;
    rate.finish(begun, 1000);
    assertThat(clock.slept).isEqualTo(700);
  }

  @Test
  void readsAtTheSameTimeShareTheLink() {
    IoRate rate = new IoRate(1e9, clock);
    long first = rate.begin();
    long second = rate.begin();
    rate.finish(first, 1000);
    rate.finish(second, 1000);
    assertThat(clock.slept).isEqualTo(2000);
  }

  @Test
  void idleTimeIsNotSavedUp() {
    IoRate rate = new IoRate(1e9, clock);
    clock.now += 1_000_000;
    rate.finish(rate.begin(), 1000);
    assertThat(clock.slept).isEqualTo(1000);
  }

  @Test
  void aReadSlowerThanTheLinkIsNotDelayed() {
    IoRate rate = new IoRate(1e9, clock);
    long begun = rate.begin();
    clock.now += 5000;
    rate.finish(begun, 1000);
    assertThat(clock.slept).isZero();
    new IoRate(0, clock).finish(begun, Long.MAX_VALUE);
    assertThat(clock.slept).isZero();
    assertThatThrownBy(() -> new IoRate(-1, clock)).hasMessageContaining("bytes per second");
  }
}

package org.mixedgpu.hetermoe.spark.gang;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

@Timeout(30)
class LocalGangTest {
  private static final GangSpec SPEC =
      GangSpec.of(
          "local",
          new MemberSpec(2, "gpu-hopper", 1, 512, 0),
          new MemberSpec(1, "gpu-volta", 1, 512, 0));

  @Test
  void membersMeetExchangeAndReport() {
    Set<Object> reported = ConcurrentHashMap.newKeySet();
    List<String> results =
        new LocalGang<>(
                SPEC.withListener((epoch, rank, value) -> reported.add(value)),
                GangTasks::exchangeBothWays)
            .run();
    assertThat(results)
        .containsExactly("attention 0 hopper 301", "attention 1 hopper 302", "expert 2 volta 3");
    assertThat(reported).containsExactlyInAnyOrder(0, 1, 2);
  }

  @Test
  void theFirstFailureIsNamedAndStopsTheOthers() {
    assertThatThrownBy(
            () ->
                new LocalGang<>(
                        SPEC,
                        member -> {
                          if (member.rank() == 1) {
                            throw new IllegalStateException("planted");
                          }
                          return GangTasks.waitForEver();
                        })
                    .run())
        .isInstanceOf(MixedGpuException.class)
        .hasMessageContaining("epoch 0: rank 1 (attention)")
        .hasMessageContaining("java.lang.IllegalStateException: planted");
  }

  @Test
  void aMemberThatAbortsAndTakesLongToEndIsTheCause() {
    assertThatThrownBy(
            () ->
                new LocalGang<>(
                        SPEC.withMaxRestarts(1),
                        member ->
                            member.rank() == 1
                                ? GangTasks.abortAndFailWhenStopped(member)
                                : GangTasks.receiveFromExpert(member))
                    .run())
        .isInstanceOfSatisfying(
            MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.BAD_INPUT))
        .hasMessageContaining("failed in epoch 0: rank 1 (attention)")
        .hasMessageContaining("planted in rank 1");
  }

  @Test
  void aMemberThatSkipsTheExchangeDoesNotBlockTheOthers() {
    assertThatThrownBy(
            () ->
                new LocalGang<>(
                        SPEC,
                        member -> member.rank() == 0 ? "done" : GangTasks.exchangeBothWays(member))
                    .run())
        .hasMessageContaining("rank 0 ended without an exchange");
  }

  @Test
  void anInterruptedCallerStopsAllMembers() throws InterruptedException {
    Thread caller = Thread.currentThread();
    CountDownLatch waiting = new CountDownLatch(SPEC.size());
    CountDownLatch ended = new CountDownLatch(SPEC.size());
    new Thread(
            () -> {
              try {
                waiting.await();
                caller.interrupt();
              } catch (InterruptedException e) {
                throw new IllegalStateException(e);
              }
            })
        .start();
    try {
      assertThatThrownBy(
              () ->
                  new LocalGang<>(
                          SPEC.withMaxRestarts(1),
                          member -> {
                            waiting.countDown();
                            try {
                              return GangTasks.waitForEver();
                            } finally {
                              ended.countDown();
                            }
                          })
                      .run())
          .isInstanceOf(MixedGpuException.class)
          .hasMessageContaining("Gang 'local' was stopped: its caller was interrupted");
    } finally {
      assertThat(Thread.interrupted()).isTrue();
    }
    assertThat(ended.await(10, TimeUnit.SECONDS)).isTrue();
  }

  @Test
  void restartsTheWholeGangInTheNextEpoch() {
    GangSpec spec = SPEC.withMaxRestarts(2);
    List<String> results =
        new LocalGang<>(
                spec,
                member -> {
                  if (member.epoch() < 2 && member.rank() == 2) {
                    throw new IllegalStateException("planted");
                  }
                  return GangTasks.exchangeBothWays(member) + " epoch " + member.epoch();
                })
            .run();
    assertThat(results).allMatch(r -> r.endsWith("epoch 2"));
  }
}

package org.mixedgpu.hetermoe.spark.exchange;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.mixedgpu.backend.TestDevice;
import org.mixedgpu.local.TalkingJvm;
import org.mixedgpu.tensor.DType;

/**
 * Two processes train with a GPU each, rows through NCCL; one is lost. The other fails soon with an
 * error that names the loss, frees its GPU and ends. With {@code -Dmixedgpu.test.backend=cpu} rows
 * go through the network: that tries the test itself.
 */
@Tag("gpu2")
@Timeout(180)
class NcclProcessFaultGpu2Test {
  private static final Duration START = Duration.ofSeconds(90);
  private static final Duration SOON = Duration.ofSeconds(15);

  /** Says what is missing where there is one GPU; a process would only end. */
  @BeforeAll
  static void thereAreTwoGpus() {
    TestDevice.open(1, DType.F32).close();
  }

  private static TalkingJvm member(int rank, long patienceMillis) {
    return TalkingJvm.start(
        "rank " + rank, List.of(), FaultMember.class, List.of("" + rank, "" + patienceMillis));
  }

  private static void meet(TalkingJvm... members) throws InterruptedException {
    StringBuilder peers = new StringBuilder("peers");
    for (TalkingJvm member : members) {
      peers.append(' ').append(member.await("port", START));
    }
    for (TalkingJvm member : members) {
      member.tell(peers.toString());
    }
    for (TalkingJvm member : members) {
      System.out.println("connected through " + member.await("connected", START));
    }
  }

  /** They are in the middle of training, each having done some steps. */
  private static void awaitSteps(TalkingJvm... members) throws InterruptedException {
    for (TalkingJvm member : members) {
      for (int step = 1; step <= FaultMember.FIRST_STEPS; step++) {
        assertThat(member.await("step", START)).isEqualTo("" + step);
      }
    }
  }

  private static void assertLeaves(TalkingJvm survivor, Duration limit) throws Exception {
    survivor.await("closed", limit);
    survivor.await("released", SOON);
    assertThat(survivor.process().waitFor(15, TimeUnit.SECONDS)).as("the process ends").isTrue();
    assertThat(survivor.process().exitValue()).isZero();
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void aKilledPeerIsNamedWithinSeconds(int victim) throws Exception {
    try (TalkingJvm first = member(0, 120_000);
        TalkingJvm second = member(1, 120_000)) {
      TalkingJvm lost = victim == 0 ? first : second;
      TalkingJvm survivor = victim == 0 ? second : first;
      meet(first, second);
      awaitSteps(first, second);
      long start = System.nanoTime();
      lost.process().destroyForcibly();
      assertThat(lost.process().waitFor(10, TimeUnit.SECONDS)).isTrue();
      assertThat(lost.process().exitValue()).as("128 and SIGKILL's number").isEqualTo(137);
      String failure = survivor.await("failed", SOON);
      System.out.printf("after %.2f s: %s%n", (System.nanoTime() - start) / 1e9, failure);
      // It may die between messages or in the middle of one.
      assertThat(failure)
          .containsPattern(
              "rank " + victim + " (has ended without a word|broke off|could not be sent to)");
      assertLeaves(survivor, SOON);
    }
  }

  /** As a machine that freezes: its connections stay, and NCCL's abort waits for it. */
  @Test
  void aPeerThatFreezesIsGivenUpAfterTheTimeLimit() throws Exception {
    try (TalkingJvm first = member(0, 5000);
        TalkingJvm second = member(1, 5000)) {
      meet(first, second);
      awaitSteps(first, second);
      Process stop = new ProcessBuilder("kill", "-STOP", "" + second.process().pid()).start();
      assertThat(stop.waitFor()).isZero();
      long start = System.nanoTime();
      String failure = first.await("failed", SOON);
      System.out.printf("after %.2f s: %s%n", (System.nanoTime() - start) / 1e9, failure);
      assertThat(failure).contains("5000 ms");
      assertThat(second.process().isAlive()).isTrue();
      // NCCL's memory is given up after 10 s.
      assertLeaves(first, Duration.ofSeconds(30));
    }
  }
}

package org.mixedgpu.hetermoe.exchange;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.backend.Backends;
import org.mixedgpu.backend.CpuOptions;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.ExchangeChoice.Member;

class ExchangeChoiceTest {
  private static final Member FIRST = new Member("a 0000:19:00.0", 22_807);
  private static final Member SECOND = new Member("a 0000:3b:00.0", 22_807);

  @Test
  void membersWithAGpuEachUseNccl() {
    for (String setting : List.of("auto", "nccl")) {
      ExchangeChoice choice = ExchangeChoice.of(setting, false, List.of(FIRST, SECOND));
      assertThat(choice.nccl()).isTrue();
      assertThat(choice.reason()).contains("2 members on as many GPUs, NCCL 22807");
    }
    assertThat(ExchangeChoice.of("network", false, List.of(FIRST, SECOND)).nccl()).isFalse();
  }

  @Test
  void whatIsInTheWayIsNamedAndAnErrorWhereNcclWasAskedFor() {
    Member cpu = new Member("", 0);
    Member without = new Member("b 0000:19:00.0", 0);
    Member older = new Member("b 0000:19:00.0", 22_000);
    refused("rank 1 has no GPU", FIRST, cpu);
    refused("ranks 0 and 2 share a GPU (a 0000:19:00.0)", FIRST, SECOND, FIRST);
    refused("rank 1 has no libnccl.so.2", FIRST, without);
    refused("rank 1 has NCCL 22000, rank 0 22807", FIRST, older);
    refused("there is one member", FIRST);
  }

  /** Who looks at the driver's error must not need an executor's log. */
  @Test
  void whyAMemberHasNoNcclIsSaidOnce() {
    String reason = "NCCL 2.17.1 was found and 2.18.0 or later is needed";
    Member second = new Member("b 0000:19:00.0", 0, reason);
    Member third = new Member("c 0000:19:00.0", 0, reason);
    refused("rank 1 has no libnccl.so.2 that can be used (" + reason + ");", FIRST, second, third);
    refused("rank 2 has no libnccl.so.2 that can be used, for the same", FIRST, second, third);
  }

  /** Encryption that was asked for is never given up for speed. */
  @Test
  void whereSparkEncryptsRowsDontPassThroughNccl() {
    refused("Spark is told to encrypt", true, FIRST, SECOND);
  }

  private static void refused(String reason, Member... members) {
    refused(reason, false, members);
  }

  private static void refused(String reason, boolean encrypted, Member... members) {
    ExchangeChoice choice = ExchangeChoice.of("auto", encrypted, List.of(members));
    assertThat(choice.nccl()).isFalse();
    assertThat(choice.reason()).startsWith("network: ").contains(reason);
    assertThatThrownBy(() -> ExchangeChoice.of("nccl", encrypted, List.of(members)))
        .hasMessageContaining(reason)
        .hasMessageContaining("spark.hetermoe.exchange=auto");
  }

  @Test
  void otherWordsAreRefused() {
    assertThatThrownBy(() -> ExchangeChoice.of("rdma", false, List.of()))
        .hasMessage("Exchange 'rdma' is not known; use auto, network or nccl");
  }

  @Test
  void factsSurviveTheWayToOthers() {
    for (Member member :
        List.of(
            FIRST,
            new Member("", 0),
            new Member("köln 0:1:2.3", 1),
            new Member("b 0000:19:00.0", 0, "not in [/usr/lib/ö]"))) {
      assertThat(Exchanges.decode(Exchanges.encode(member))).isEqualTo(member);
    }
  }

  @Test
  @Timeout(60)
  void membersWithoutGpusDecideAlike() throws Exception {
    try (Backend backend = Backends.cpu(new CpuOptions(1, Long.MAX_VALUE))) {
      List<InProcessExchange> network = group(backend);
      CompletableFuture<Exchange> other =
          CompletableFuture.supplyAsync(() -> best(network.get(1), backend, "auto"));
      assertThat(best(network.get(0), backend, "auto")).isSameAs(network.get(0));
      assertThat(other.get()).isSameAs(network.get(1));
      network.forEach(Exchange::close);

      List<InProcessExchange> again = group(backend);
      CompletableFuture<Throwable> failure =
          CompletableFuture.supplyAsync(() -> best(again.get(1), backend, "nccl"))
              .handle((exchange, e) -> e.getCause());
      assertThatThrownBy(() -> best(again.get(0), backend, "nccl"))
          .isInstanceOfSatisfying(
              MixedGpuException.class, e -> assertThat(e.fault()).isEqualTo(Fault.MISSING));
      assertThat(failure.get()).isInstanceOf(MixedGpuException.class);
      assertThat(backend.memoryUse().tensors()).isZero();
    }
  }

  private static List<InProcessExchange> group(Backend backend) {
    return InProcessExchange.group(Collections.nCopies(2, backend), ExchangeLimits.DEFAULT);
  }

  private static Exchange best(Exchange network, Backend backend, String setting) {
    return Exchanges.best(
        network,
        "host",
        backend,
        setting,
        List.of(new RowFlow("d", List.of(0), List.of(1))),
        new int[] {0},
        Duration.ofSeconds(20));
  }
}

package org.mixedgpu.hetermoe.spark.gang;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InterruptedIOException;
import java.net.SocketTimeoutException;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileLockInterruptionException;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.mixedgpu.base.Fault;
import org.mixedgpu.hetermoe.exchange.ExchangeAbortedException;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.spark.exchange.PeerAddress;

class EpochTest {
  private static final GangSpec SPEC =
      GangSpec.of(
              "test",
              new MemberSpec(2, "gpu-hopper", 1, 512, 0),
              new MemberSpec(1, "gpu-volta", 1, 512, 0))
          .withRegistrationTimeout(Duration.ofSeconds(120))
          .withSilenceTimeout(Duration.ofSeconds(10));

  private long now;
  private final Epoch epoch = new Epoch("run", 1, SPEC, "secret", () -> now);

  private Answer register(Role role, int index, long task, String generation) {
    Word.Place place =
        new Word.Place(
            "host" + task,
            "executor" + task,
            new PeerAddress("host" + task, 1000 + (int) task),
            generation,
            List.of("0"),
            0);
    return epoch.hear(new Word.Register("run", 1, role, index, task, place));
  }

  private Answer poll(long task) {
    return epoch.hear(new Word.Poll("run", 1, task));
  }

  private Answer fail(long task, Failure.Kind kind, String what) {
    Failure failure = new Failure(kind, Fault.EXHAUSTED, what, "stack");
    return epoch.hear(new Word.Failed("run", 1, task, failure));
  }

  private void gather() {
    register(Role.EXPERT, 0, 30, "volta");
    register(Role.ATTENTION, 1, 11, "hopper");
    register(Role.ATTENTION, 0, 10, "hopper");
  }

  @Test
  void allMembersGetTheSameTableInRankOrderOnceTheLastOneIsHere() {
    assertThat(epoch.hear(new Word.Hello("run", 1))).isEqualTo(new Answer.Welcome("secret"));
    assertThat(register(Role.EXPERT, 0, 30, "volta")).isInstanceOf(Answer.Gathering.class);
    assertThat(register(Role.ATTENTION, 1, 11, "hopper")).isInstanceOf(Answer.Gathering.class);
    assertThat(epoch.isComplete()).isFalse();
    List<PeerAddress> table =
        List.of(
            new PeerAddress("host10", 1010),
            new PeerAddress("host11", 1011),
            new PeerAddress("host30", 1030));
    assertThat(register(Role.ATTENTION, 0, 10, "hopper"))
        .isEqualTo(new Answer.Running(0, Role.ATTENTION, table));
    assertThat(poll(30)).isEqualTo(new Answer.Running(2, Role.EXPERT, table));
    assertThat(poll(11)).isEqualTo(new Answer.Running(1, Role.ATTENTION, table));
  }

  @Test
  void withoutRolesTheGenerationDecides() {
    register(null, 0, 10, "volta");
    register(null, 1, 11, "hopper");
    assertThat(register(null, 2, 12, "hopper")).isInstanceOf(Answer.Running.class);
    assertThat(((Answer.Running) poll(10)).rank()).isEqualTo(2);
    assertThat(((Answer.Running) poll(11)).rank()).isZero();
  }

  @Test
  void aWrongMixOfGenerationsIsSaid() {
    register(null, 0, 10, "volta");
    register(null, 1, 11, "volta");
    Answer answer = register(null, 2, 12, "hopper");
    assertThat(((Answer.Over) answer).reason())
        .contains("the cluster gave 1 hopper and 2 volta executors")
        .contains("needs 2 and 1")
        .contains("spark.dynamicAllocation.enabled=true");
  }

  @Test
  void anotherEpochOrRunIsOver() {
    assertThat(epoch.hear(new Word.Hello("run", 0))).isInstanceOf(Answer.Over.class);
    assertThat(epoch.hear(new Word.Poll("other", 1, 1))).isInstanceOf(Answer.Over.class);
    assertThat(Rendezvous.receive(new Word.Hello("unknown", 0))).isInstanceOf(Answer.Over.class);
  }

  @Test
  void aTaskThatSparkStartsAgainEndsTheEpoch() {
    gather();
    Answer answer = register(Role.ATTENTION, 1, 77, "hopper");
    assertThat(((Answer.Over) answer).reason()).contains("rank 1 (attention)").contains("again");
    assertThat(poll(30)).isInstanceOf(Answer.Over.class);
    assertThat(epoch.culprit().orElseThrow())
        .hasToString("rank 1 (attention) on host11, executor executor11");
    assertThat(poll(77)).isInstanceOf(Answer.Over.class);
  }

  @Test
  void theDeadlineCountsWhoIsHere() {
    register(Role.ATTENTION, 0, 10, "hopper");
    now = 120_000;
    epoch.tick();
    assertThat(epoch.isOver()).isFalse();
    now = 120_001;
    epoch.tick();
    assertThat(epoch.isLate()).isTrue();
    assertThat(epoch.registered(Role.ATTENTION)).isEqualTo(1);
    assertThat(epoch.registered(Role.EXPERT)).isZero();
    assertThat(register(Role.EXPERT, 0, 30, "volta")).isInstanceOf(Answer.Over.class);
    assertThat(epoch.hear(new Word.Hello("run", 1))).isInstanceOf(Answer.Over.class);
  }

  @Test
  void aSilentMemberIsLostAndOneThatLeftIsNot() {
    gather();
    epoch.hear(new Word.Left("run", 1, 30));
    now = 9_000;
    poll(10);
    poll(11);
    now = 18_000;
    poll(10);
    epoch.tick();
    assertThat(epoch.isOver()).isFalse();
    now = 19_001;
    epoch.tick();
    assertThat(epoch.culprit().orElseThrow().rank).isEqualTo(1);
    assertThat(epoch.reason()).contains("rank 1 (attention)").contains("not heard of for 10 s");
  }

  @Test
  void theCauseIsNamedWhoeverSpokeFirst() {
    gather();
    fail(10, Failure.Kind.LOST_PEER, "lost rank 2");
    fail(11, Failure.Kind.ECHO, "aborted");
    assertThat(epoch.culprit().orElseThrow().rank).isZero();
    epoch.executorGone("executor30", "exit code 137");
    assertThat(epoch.culprit().orElseThrow().rank).isEqualTo(2);
    assertThat(epoch.culprit().orElseThrow().failure.summary()).contains("exit code 137");
    // What it said itself explains more than its end.
    fail(30, Failure.Kind.OWN, "out of memory");
    assertThat(epoch.culprit().orElseThrow().failure.summary()).isEqualTo("out of memory");
  }

  @Test
  void amongEqualsTheFirstToFailIsTheCauseWhoeverRegisteredFirst() {
    gather();
    // Rank 2 registered first, and spoke first, but what explains less.
    fail(30, Failure.Kind.LOST_PEER, "lost rank 1");
    fail(11, Failure.Kind.OWN, "out of memory");
    fail(10, Failure.Kind.OWN, "a consequence");
    fail(30, Failure.Kind.OWN, "another consequence");
    assertThat(epoch.culprit().orElseThrow().rank).isEqualTo(1);
    assertThat(epoch.culprit().orElseThrow().failure.summary()).isEqualTo("out of memory");
  }

  @Test
  void membersArePresentUntilTheyLeaveOrAreGone() {
    gather();
    assertThat(epoch.present()).isEqualTo(3);
    epoch.hear(new Word.Left("run", 1, 10));
    epoch.executorGone("executor30", "killed");
    assertThat(epoch.present()).isEqualTo(1);
    epoch.executorGone("executor10", "idle");
    assertThat(epoch.culprit().orElseThrow().rank).isEqualTo(2);
  }

  @Test
  void reportsKeepTheirOrderAndEndWithTheEpoch() {
    gather();
    epoch.hear(new Word.Report("run", 1, 30, "a"));
    epoch.hear(new Word.Report("run", 1, 10, "b"));
    assertThat(epoch.takeReports())
        .containsExactly(new Epoch.Heard(2, "a"), new Epoch.Heard(0, "b"));
    epoch.stop("enough");
    epoch.hear(new Word.Report("run", 1, 30, "late"));
    assertThat(epoch.takeReports()).isEmpty();
  }

  @Test
  void failuresAreOrderedByHowCloseTheyAreToTheCause() {
    assertThat(Failure.of(new IllegalStateException("x"), false).kind())
        .isEqualTo(Failure.Kind.OWN);
    assertThat(Failure.of(new IllegalStateException("x"), true).kind())
        .isEqualTo(Failure.Kind.ECHO);
    assertThat(Failure.of(new RuntimeException(new InterruptedException()), false).kind())
        .isEqualTo(Failure.Kind.ECHO);
    assertThat(Failure.of(new ExchangeAbortedException("x"), false).kind())
        .isEqualTo(Failure.Kind.ECHO);
  }

  @Test
  void anInterruptedCallIsAnEchoWhateverItsClassAndATimeoutOrACloseIsNone() {
    assertThat(
            List.of(
                new ClosedByInterruptException(),
                new FileLockInterruptionException(),
                new InterruptedIOException()))
        .allSatisfy(e -> assertThat(Failure.kind(e, false)).isEqualTo(Failure.Kind.ECHO))
        .allSatisfy(
            e ->
                assertThat(Failure.kind(new IllegalStateException(e), false))
                    .isEqualTo(Failure.Kind.ECHO));
    assertThat(Failure.kind(new SocketTimeoutException(), false)).isEqualTo(Failure.Kind.OWN);
    // As HTTP clients have them.
    InterruptedIOException timeout = new InterruptedIOException("from the pool") {};
    assertThat(Failure.kind(new IOException(timeout), false)).isEqualTo(Failure.Kind.OWN);
    assertThat(Failure.kind(new AsynchronousCloseException(), false)).isEqualTo(Failure.Kind.OWN);
  }

  @Test
  void wordsAndAnswersPassTheWire() {
    Word word = new Word.Report("run", 1, 30, "value");
    assertThat(Codec.decode(Codec.encode(word))).isEqualTo(word);
    Answer answer = new Answer.Running(1, Role.EXPERT, List.of(new PeerAddress("h", 1)));
    assertThat(Codec.decode(Codec.encode(answer))).isEqualTo(answer);
    assertThat(new Answer.Welcome("secret").toString()).doesNotContain("secret");
  }
}

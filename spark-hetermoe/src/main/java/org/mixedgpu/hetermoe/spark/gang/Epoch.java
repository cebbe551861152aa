package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.LongSupplier;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.spark.exchange.PeerAddress;

/**
 * One start of a gang, seen from the driver: who is here, whether all are, and what went wrong
 * first. A state machine with a clock and no threads; every method returns at once. Words of
 * members come from the RPC thread, the rest from the thread that runs the gang.
 */
final class Epoch {
  private final String runId;
  private final int number;
  private final GangSpec spec;
  private final String secret;
  private final LongSupplier millis;
  private final long started;

  /** By task attempt. */
  private final Map<Long, Member> members = new LinkedHashMap<>();

  private final ArrayDeque<Heard> reports = new ArrayDeque<>();
  private List<Member> ranks = List.of();
  private String over;
  private boolean late;
  private int failures;

  /** A report for the listener. */
  record Heard(int rank, Serializable value) {}

  /** One task attempt that has a place. */
  static final class Member {
    final Word.Register word;
    int rank = -1;
    Role role;
    long heardAt;
    boolean left;
    Failure failure;

    /** How many failures were recorded before this one. */
    int failuresBefore;

    Member(Word.Register word, long now) {
      this.word = word;
      this.role = word.role();
      this.heardAt = now;
    }

    @Override
    public String toString() {
      Word.Place place = word.place();
      return (rank < 0 ? "member " + word.index() : "rank " + rank)
          + (role == null ? "" : " (" + role + ")")
          + " on "
          + place.host()
          + ", executor "
          + place.executor();
    }
  }

  Epoch(String runId, int number, GangSpec spec, String secret, LongSupplier millis) {
    this.runId = runId;
    this.number = number;
    this.spec = spec;
    this.secret = secret;
    this.millis = millis;
    this.started = millis.getAsLong();
  }

  int number() {
    return number;
  }

  synchronized Answer hear(Word word) {
    if (word.epoch() != number || !word.runId().equals(runId)) {
      return new Answer.Over(
          "epoch " + word.epoch() + " of the gang is over; now is epoch " + number);
    }
    if (word instanceof Word.Hello) {
      return over != null ? new Answer.Over(over) : new Answer.Welcome(secret);
    }
    if (word instanceof Word.Register register) {
      return register(register);
    }
    if (word instanceof Word.Poll poll) {
      return standing(members.get(poll.task()));
    }
    if (word instanceof Word.Failed failed) {
      return fail(members.get(failed.task()), failed.failure());
    }
    if (word instanceof Word.Left left) {
      Member member = members.get(left.task());
      if (member != null) {
        member.left = true;
      }
      return standing(member);
    }
    if (word instanceof Word.Report report) {
      Member member = members.get(report.task());
      if (member != null && over == null) {
        reports.add(new Heard(member.rank, report.value()));
      }
      return standing(member);
    }
    throw new IllegalStateException("Unknown word " + word);
  }

  private Answer register(Word.Register word) {
    if (over != null) {
      return new Answer.Over(over);
    }
    for (Member other : members.values()) {
      if (other.word.index() == word.index() && other.word.role() == word.role()) {
        return fail(
            other,
            Failure.gone("Spark started its task again (attempt " + word.place().attempt() + ")"));
      }
    }
    Member member = new Member(word, millis.getAsLong());
    members.put(word.task(), member);
    if (members.size() == spec.size()) {
      seat();
    }
    return standing(member);
  }

  /** Gives ranks: by role and partition, or, where the driver decides, by generation. */
  private void seat() {
    List<Member> all = new ArrayList<>(members.values());
    for (Member member : all) {
      if (member.role == null) {
        member.role = roleOf(member.word.place().generation());
      }
    }
    long attention = all.stream().filter(m -> m.role == Role.ATTENTION).count();
    long expert = all.stream().filter(m -> m.role == Role.EXPERT).count();
    if (attention != spec.attention().members() || expert != spec.expert().members()) {
      over(
          String.format(
              "the cluster gave %d %s and %d %s executors (and %d of other generations), but the"
                  + " gang needs %d and %d; with spark.dynamicAllocation.enabled=true each role"
                  + " asks for its own kind",
              attention,
              spec.attention().generation(),
              expert,
              spec.expert().generation(),
              all.size() - attention - expert,
              spec.attention().members(),
              spec.expert().members()));
      return;
    }
    all.sort(Comparator.comparing((Member m) -> m.role).thenComparingInt(m -> m.word.index()));
    for (int rank = 0; rank < all.size(); rank++) {
      all.get(rank).rank = rank;
    }
    ranks = List.copyOf(all);
  }

  private Role roleOf(String generation) {
    // Both roles may ask for one generation: then the first members attend.
    if (spec.attention().generation().equals(spec.expert().generation())) {
      long attention = members.values().stream().filter(m -> m.role == Role.ATTENTION).count();
      return attention < spec.attention().members() ? Role.ATTENTION : Role.EXPERT;
    }
    return generation.equals(spec.attention().generation())
        ? Role.ATTENTION
        : generation.equals(spec.expert().generation()) ? Role.EXPERT : null;
  }

  private Answer standing(Member member) {
    if (member == null) {
      return new Answer.Over(over == null ? "this task attempt has no place in the gang" : over);
    }
    member.heardAt = millis.getAsLong();
    if (over != null) {
      return new Answer.Over(over);
    }
    if (ranks.isEmpty()) {
      return new Answer.Gathering();
    }
    List<PeerAddress> addresses = ranks.stream().map(m -> m.word.place().address()).toList();
    return new Answer.Running(member.rank, member.role, addresses);
  }

  private Answer fail(Member member, Failure failure) {
    if (member == null) {
      return new Answer.Over(String.valueOf(over));
    }
    if (member.failure == null || failure.kind().compareTo(member.failure.kind()) < 0) {
      member.failure = failure;
      member.failuresBefore = failures++;
    }
    return over(member + ": " + failure.summary());
  }

  private Answer over(String reason) {
    if (over == null) {
      over = reason;
    }
    return new Answer.Over(over);
  }

  /** Ends the epoch from outside; the first reason counts. */
  synchronized void stop(String reason) {
    over(reason);
  }

  /** Spark says that an executor is gone. */
  synchronized void executorGone(String executor, String how) {
    for (Member member : members.values()) {
      if (member.word.place().executor().equals(executor) && !member.left) {
        fail(member, Failure.gone("its executor is gone: " + how));
      }
    }
  }

  /** Looks at the clock: deadline of the gathering, silence of members. */
  synchronized void tick() {
    if (over != null) {
      return;
    }
    long now = millis.getAsLong();
    if (ranks.isEmpty()) {
      if (now - started > spec.registrationTimeout().toMillis()) {
        late = true;
        over("not all members registered in time");
      }
      return;
    }
    for (Member member : members.values()) {
      long silence = now - member.heardAt;
      if (!member.left && silence > spec.silenceTimeout().toMillis()) {
        fail(member, Failure.gone("not heard of for " + silence / 1000 + " s"));
      }
    }
  }

  synchronized boolean isOver() {
    return over != null;
  }

  /** Whether every member is here. */
  synchronized boolean isComplete() {
    return !ranks.isEmpty();
  }

  /** Whether the reason is that members did not come: a restart would not bring them. */
  synchronized boolean isLate() {
    return late;
  }

  /** Registered members that have not said their last word. */
  synchronized int present() {
    return (int)
        members.values().stream()
            .filter(m -> !m.left && (m.failure == null || m.failure.kind() != Failure.Kind.GONE))
            .count();
  }

  /** How many members of a role have registered; those without a role yet count by generation. */
  synchronized int registered(Role role) {
    String generation =
        role == Role.ATTENTION ? spec.attention().generation() : spec.expert().generation();
    return (int)
        members.values().stream()
            .filter(
                m ->
                    m.word.role() == null
                        ? m.word.place().generation().equals(generation)
                        : m.word.role() == role)
            .count();
  }

  synchronized String reason() {
    return String.valueOf(over);
  }

  /** The member whose failure explains the others best; among equals the first to fail. */
  synchronized Optional<Member> culprit() {
    return members.values().stream()
        .filter(m -> m.failure != null && m.failure.kind() != Failure.Kind.ECHO)
        .min(
            Comparator.comparing((Member m) -> m.failure.kind())
                .thenComparingInt(m -> m.failuresBefore));
  }

  synchronized List<Heard> takeReports() {
    List<Heard> taken = List.copyOf(reports);
    reports.clear();
    return taken;
  }
}

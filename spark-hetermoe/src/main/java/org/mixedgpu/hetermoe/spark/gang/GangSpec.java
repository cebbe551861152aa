package org.mixedgpu.hetermoe.spark.gang;

import java.time.Duration;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.ExchangeLimits;
import org.mixedgpu.hetermoe.plan.Role;

/**
 * What gang to run.
 *
 * @param name for job descriptions and log lines
 * @param registrationTimeout how long all members together may take to appear
 * @param silenceTimeout how long a member may be silent before it counts as lost
 * @param maxRestarts how often the whole gang is started again after a failure other than bad
 *     input; each start is an epoch, and the task continues from what it has stored itself. 0
 *     unless the task can do that.
 * @param exchange memory and time limits of the connections between members
 * @param listener hears the members' reports
 */
public record GangSpec(
    String name,
    MemberSpec attention,
    MemberSpec expert,
    Duration registrationTimeout,
    Duration silenceTimeout,
    int maxRestarts,
    ExchangeLimits exchange,
    Progress listener) {
  public GangSpec {
    Check.input(
        registrationTimeout.toMillis() > 0 && silenceTimeout.toMillis() >= 2000,
        "A gang needs a positive registration timeout and a silence timeout of 2 s or more; found"
            + " %s and %s",
        registrationTimeout,
        silenceTimeout);
    Check.input(maxRestarts >= 0, "maxRestarts is %d; use 0 for none", maxRestarts);
  }

  /**
   * A gang with 120 s to appear, 15 s of silence, no restart, the default exchange limits and no
   * listener.
   */
  public static GangSpec of(String name, MemberSpec attention, MemberSpec expert) {
    return new GangSpec(
        name,
        attention,
        expert,
        Duration.ofSeconds(120),
        Duration.ofSeconds(15),
        0,
        ExchangeLimits.DEFAULT,
        Progress.IGNORED);
  }

  public GangSpec withRegistrationTimeout(Duration timeout) {
    return new GangSpec(
        name, attention, expert, timeout, silenceTimeout, maxRestarts, exchange, listener);
  }

  public GangSpec withSilenceTimeout(Duration timeout) {
    return new GangSpec(
        name, attention, expert, registrationTimeout, timeout, maxRestarts, exchange, listener);
  }

  public GangSpec withMaxRestarts(int restarts) {
    return new GangSpec(
        name, attention, expert, registrationTimeout, silenceTimeout, restarts, exchange, listener);
  }

  public GangSpec withExchange(ExchangeLimits limits) {
    return new GangSpec(
        name,
        attention,
        expert,
        registrationTimeout,
        silenceTimeout,
        maxRestarts,
        limits,
        listener);
  }

  public GangSpec withListener(Progress progress) {
    return new GangSpec(
        name,
        attention,
        expert,
        registrationTimeout,
        silenceTimeout,
        maxRestarts,
        exchange,
        progress);
  }

  /** Members of both roles. */
  public int size() {
    return attention.members() + expert.members();
  }

  Role roleOf(int rank) {
    return rank < attention.members() ? Role.ATTENTION : Role.EXPERT;
  }
}

package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.List;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.spark.exchange.SparkNetworkExchange;

/** A member that is a task on an executor. */
final class ClusterMember implements MemberContext {
  private final String runId;
  private final int epoch;
  private final Answer.Running seat;
  private final int attentionMembers;
  private final Word.Place place;
  private final long attempt;
  private final SparkNetworkExchange exchange;
  private Backend joined;
  private volatile String over;
  private volatile boolean stopped;

  ClusterMember(
      String runId,
      int epoch,
      Answer.Running seat,
      int attentionMembers,
      Word.Place place,
      long attempt,
      SparkNetworkExchange exchange) {
    this.runId = runId;
    this.epoch = epoch;
    this.seat = seat;
    this.attentionMembers = attentionMembers;
    this.place = place;
    this.attempt = attempt;
    this.exchange = exchange;
  }

  @Override
  public String runId() {
    return runId;
  }

  @Override
  public int epoch() {
    return epoch;
  }

  @Override
  public Role role() {
    return seat.role();
  }

  @Override
  public int rank() {
    return seat.rank();
  }

  @Override
  public int attentionMembers() {
    return attentionMembers;
  }

  @Override
  public int expertMembers() {
    return seat.members().size() - attentionMembers;
  }

  @Override
  public String generation() {
    return place.generation();
  }

  @Override
  public List<String> addresses() {
    return place.addresses();
  }

  @Override
  public String host() {
    return place.host();
  }

  @Override
  public synchronized Exchange exchange(Backend backend) {
    if (joined == null) {
      exchange.join(rank(), seat.members(), backend);
      joined = backend;
    }
    Check.input(
        joined == backend,
        "Rank %d has an exchange for backend %s; one member has one exchange",
        rank(),
        joined.name());
    return exchange;
  }

  @Override
  public void report(Serializable progress) {
    GangPlugin.send(new Word.Report(runId, epoch, attempt, progress));
  }

  @Override
  public boolean aborted() {
    return over != null;
  }

  long attempt() {
    return attempt;
  }

  Word.Poll poll() {
    return new Word.Poll(runId, epoch, attempt);
  }

  /**
   * Whether it was stopped; false where it had aborted its exchange before, for its own failure.
   */
  boolean stopped() {
    return stopped;
  }

  /** Ends what waits here and at the peers. */
  void stop(String reason) {
    // A member that fails aborts, cleans up, and says so last: its peers' words may come before.
    if (!exchange.abortsFirst()) {
      stopped = true;
    }
    over = reason;
    exchange.abort(reason);
  }
}

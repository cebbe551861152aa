package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import org.apache.spark.SparkEnv;
import org.apache.spark.TaskContext;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.spark.exchange.SparkNetworkExchange;
import org.mixedgpu.hetermoe.spark.exchange.TransportOptions;

/**
 * The life of one member inside a Spark task: says hello, listens, takes its place, waits for the
 * others, runs the caller's task while a second thread keeps the driver informed, and leaves.
 *
 * @param role null where the driver decides by generation
 */
record MemberRun<T extends Serializable>(
    String runId,
    int epoch,
    Role role,
    int attentionMembers,
    int expertMembers,
    TransportOptions transport,
    MemberTask<T> task)
    implements Serializable {

  /** A member's result with its place. */
  record Result<T extends Serializable>(int rank, T value) implements Serializable {}

  private static final long FIRST_POLL_MS = 20;
  private static final long SLOWEST_POLL_MS = 250;

  Result<T> run(int index) throws Exception {
    TaskContext spark = TaskContext.get();
    long attempt = spark.taskAttemptId();
    Generations.Given given = Generations.of(spark.resourcesJMap());
    // Not PluginContext.hostname(): that throws on executors.
    String host = SparkEnv.get().blockManager().blockManagerId().host();
    Answer answer = GangPlugin.ask(new Word.Hello(runId, epoch));
    if (!(answer instanceof Answer.Welcome welcome)) {
      throw over(answer);
    }
    try (SparkNetworkExchange exchange =
        new SparkNetworkExchange(host, welcome.secret(), transport)) {
      Word.Place place =
          new Word.Place(
              host,
              GangPlugin.executorId(),
              exchange.address(),
              given.generation(),
              given.addresses(),
              spark.attemptNumber());
      Answer.Running running =
          gather(GangPlugin.ask(new Word.Register(runId, epoch, role, index, attempt, place)));
      ClusterMember member =
          new ClusterMember(runId, epoch, running, attentionMembers, place, attempt, exchange);
      return new Result<>(running.rank(), run(member));
    } finally {
      leave(new Word.Left(runId, epoch, attempt));
    }
  }

  private Answer.Running gather(Answer answer) throws Exception {
    long pause = FIRST_POLL_MS;
    long attempt = TaskContext.get().taskAttemptId();
    while (answer instanceof Answer.Gathering) {
      Thread.sleep(pause);
      pause = Math.min(SLOWEST_POLL_MS, pause * 2);
      answer = GangPlugin.ask(new Word.Poll(runId, epoch, attempt));
    }
    if (answer instanceof Answer.Running running) {
      return running;
    }
    throw over(answer);
  }

  private T run(ClusterMember member) throws Exception {
    Heartbeat heartbeat = new Heartbeat(member, Thread.currentThread());
    try {
      return task.run(member);
    } catch (Throwable e) {
      Failure failure = Failure.of(e, member.stopped());
      leave(new Word.Failed(runId, epoch, member.attempt(), failure));
      member.stop("rank " + member.rank() + " failed: " + failure.summary());
      throw e;
    } finally {
      heartbeat.close();
    }
  }

  /** Last words may find no driver; nobody is left to tell then. */
  private static void leave(Word word) {
    // Cancelled tasks are interrupted, and the word must go out all the same.
    boolean interrupted = Thread.interrupted();
    try {
      GangPlugin.ask(word);
    } catch (Exception e) {
      org.slf4j.LoggerFactory.getLogger(MemberRun.class)
          .debug("The driver did not hear {}", word, e);
    } finally {
      if (interrupted) {
        Thread.currentThread().interrupt();
      }
    }
  }

  private static MixedGpuException over(Answer answer) {
    return new MixedGpuException(
        Fault.MISSING,
        "The gang is over before this member could start: "
            + (answer instanceof Answer.Over over ? over.reason() : answer));
  }
}

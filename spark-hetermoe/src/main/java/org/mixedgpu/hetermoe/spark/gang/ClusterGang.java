package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.Comparator;
import java.util.List;
import java.util.UUID;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.scheduler.SparkListener;
import org.apache.spark.scheduler.SparkListenerExecutorRemoved;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.plan.Role;
import org.mixedgpu.hetermoe.spark.exchange.TransportOptions;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A gang on executors: starts epochs, watches them, stops all of them together, names the cause.
 */
final class ClusterGang<T extends Serializable> {
  private static final Logger LOG = LoggerFactory.getLogger(ClusterGang.class);
  private static final SecureRandom RANDOM = new SecureRandom();
  private static final long LOOK_MS = 50;

  /** How long the word of a better explanation may be under way. */
  private static final long EXPLAIN_MS = 5_000;

  /** How long a stopped member may take to notice. */
  private static final long LEAVE_MS = 30_000;

  private final JavaSparkContext spark;
  private final GangSpec spec;
  private final Mode mode;
  private final MemberTask<T> task;
  private final String runId = UUID.randomUUID().toString();
  private final TransportOptions transport;

  ClusterGang(JavaSparkContext spark, GangSpec spec, Mode mode, MemberTask<T> task) {
    this.spark = spark;
    this.spec = spec;
    this.mode = mode;
    this.task = task;
    this.transport = TransportOptions.of(spark.getConf(), spec.exchange());
  }

  List<T> run() {
    try {
      for (int number = 0; ; number++) {
        Epoch epoch = new Epoch(runId, number, spec, secret(), () -> System.nanoTime() / 1_000_000);
        try {
          return run(epoch);
        } catch (MixedGpuException e) {
          // What never worked, or can't work with this input, does not work the next time.
          if (number >= spec.maxRestarts() || !epoch.isComplete() || e.fault() == Fault.BAD_INPUT) {
            throw e;
          }
          LOG.warn("{}\nRestart {} of {}", e.getMessage(), number + 1, spec.maxRestarts());
        }
      }
    } finally {
      Rendezvous.close(runId);
    }
  }

  private static String secret() {
    byte[] bytes = new byte[32];
    RANDOM.nextBytes(bytes);
    return Base64.getEncoder().encodeToString(bytes);
  }

  private List<T> run(Epoch epoch) {
    SparkListener watch =
        new SparkListener() {
          @Override
          public void onExecutorRemoved(SparkListenerExecutorRemoved event) {
            epoch.executorGone(event.executorId(), event.reason());
          }
        };
    Rendezvous.open(runId, epoch);
    spark.sc().addSparkListener(watch);
    Jobs<T> jobs = new Jobs<>(spark, spec, "gang-" + runId + "-" + epoch.number(), epoch.number());
    try {
      if (mode == Mode.PROFILES) {
        jobs.startProfiles(member(epoch, Role.ATTENTION), member(epoch, Role.EXPERT));
      } else {
        jobs.startBarrier(member(epoch, null));
      }
      watch(epoch, jobs);
      if (epoch.isOver()) {
        throw failure(epoch, jobs);
      }
      return jobs.results().stream()
          .sorted(Comparator.comparingInt(MemberRun.Result::rank))
          .map(MemberRun.Result::value)
          .toList();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new MixedGpuException(
          Fault.MISSING, "Gang '" + spec.name() + "' was stopped: its caller was interrupted", e);
    } finally {
      // Whatever happened, no member outlives this epoch. Nothing happens to jobs that have ended.
      epoch.stop("the epoch has ended");
      jobs.cancel(epoch.reason());
      spark.sc().removeSparkListener(watch);
    }
  }

  private MemberRun<T> member(Epoch epoch, Role role) {
    return new MemberRun<>(
        runId,
        epoch.number(),
        role,
        spec.attention().members(),
        spec.expert().members(),
        transport,
        task);
  }

  /** Returns when all jobs have succeeded, or when the epoch is over and everything has stopped. */
  private void watch(Epoch epoch, Jobs<T> jobs) throws InterruptedException {
    while (!epoch.isOver() && !jobs.ended()) {
      Thread.sleep(LOOK_MS);
      deliver(epoch);
      epoch.tick();
      Throwable failure = jobs.failure();
      if (failure != null) {
        epoch.stop("Spark failed the job: " + failure.getMessage());
      }
    }
    deliver(epoch);
    Throwable failure = jobs.failure();
    if (failure != null) {
      epoch.stop("Spark failed the job: " + failure.getMessage());
    }
    if (epoch.isOver()) {
      stop(epoch, jobs);
    }
  }

  private void deliver(Epoch epoch) {
    for (Epoch.Heard heard : epoch.takeReports()) {
      spec.listener().reported(epoch.number(), heard.rank(), heard.value());
    }
  }

  private void stop(Epoch epoch, Jobs<T> jobs) throws InterruptedException {
    LOG.info("Gang {}: stopping epoch {}: {}", spec.name(), epoch.number(), epoch.reason());
    long start = System.nanoTime();
    // A failing member has told its peers; cancelling right away would make its own word an echo.
    while (!epoch.isLate() && !explained(epoch) && millisSince(start) < EXPLAIN_MS) {
      Thread.sleep(LOOK_MS);
    }
    jobs.cancel(epoch.reason());
    while (millisSince(start) < LEAVE_MS && !(jobs.ended() && epoch.present() == 0)) {
      Thread.sleep(LOOK_MS);
    }
    if (epoch.present() > 0 || !jobs.ended()) {
      LOG.warn(
          "Gang {}: {} members of epoch {} have not stopped after {} s; their executors stay busy",
          spec.name(),
          epoch.present(),
          epoch.number(),
          LEAVE_MS / 1000);
    }
  }

  private static boolean explained(Epoch epoch) {
    return epoch
        .culprit()
        .filter(m -> m.failure.kind().compareTo(Failure.Kind.LOST_PEER) < 0)
        .isPresent();
  }

  private static long millisSince(long nanos) {
    return (System.nanoTime() - nanos) / 1_000_000;
  }

  private MixedGpuException failure(Epoch epoch, Jobs<T> jobs) {
    String head = "Gang '" + spec.name() + "' failed in epoch " + epoch.number() + ": ";
    if (epoch.isLate()) {
      return new MixedGpuException(Fault.EXHAUSTED, head + lateness(epoch));
    }
    return epoch
        .culprit()
        .map(
            member ->
                new MixedGpuException(
                    member.failure.fault(),
                    head + member + ": " + member.failure.summary(),
                    new MemberFailedException(member.failure.stack())))
        .orElseGet(
            () -> new MixedGpuException(Fault.MISSING, head + epoch.reason(), jobs.failure()));
  }

  private String lateness(Epoch epoch) {
    return late(epoch, Role.ATTENTION, spec.attention())
        + " and "
        + late(epoch, Role.EXPERT, spec.expert())
        + " registered after "
        + spec.registrationTimeout().toSeconds()
        + " s; "
        + ClusterState.describe(spark.sc())
        + "; give the cluster what is missing, ask for fewer members, smaller executors, or raise"
        + " the registration timeout";
  }

  private static String late(Epoch epoch, Role role, MemberSpec members) {
    return epoch.registered(role)
        + " of "
        + members.members()
        + " '"
        + role
        + "' members ("
        + members.resource()
        + ", "
        + members.cores()
        + " cores, "
        + (members.memoryMib() + members.overheadMib())
        + " MiB)";
  }
}

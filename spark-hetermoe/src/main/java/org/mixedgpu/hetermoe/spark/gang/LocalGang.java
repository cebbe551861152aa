package org.mixedgpu.hetermoe.spark.gang;

import java.io.Serializable;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import org.mixedgpu.backend.Backend;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.hetermoe.exchange.Exchange;
import org.mixedgpu.hetermoe.exchange.ExchangeAbortedException;
import org.mixedgpu.hetermoe.exchange.InProcessExchange;
import org.mixedgpu.hetermoe.plan.Role;
import org.slf4j.LoggerFactory;

/** A gang on threads of this process. */
final class LocalGang<T extends Serializable> {
  private final GangSpec spec;
  private final MemberTask<T> task;
  private final String runId = UUID.randomUUID().toString();

  LocalGang(GangSpec spec, MemberTask<T> task) {
    this.spec = spec;
    this.task = task;
  }

  List<T> run() {
    for (int epoch = 0; ; epoch++) {
      try {
        return new Run(epoch).results();
      } catch (MixedGpuException e) {
        if (epoch >= spec.maxRestarts()
            || e.fault() == Fault.BAD_INPUT
            || Thread.currentThread().isInterrupted()) {
          throw e;
        }
        LoggerFactory.getLogger(LocalGang.class)
            .warn("{}\nRestart {} of {}", e.getMessage(), epoch + 1, spec.maxRestarts());
      }
    }
  }

  /** One epoch. */
  private final class Run {
    private final int epoch;
    private final List<Thread> threads = new ArrayList<>();
    private final List<CompletableFuture<T>> values = new ArrayList<>();
    private final List<CompletableFuture<Backend>> backends = new ArrayList<>();
    private final CompletableFuture<List<InProcessExchange>> exchanges;
    private MixedGpuException failure;

    Run(int epoch) {
      this.epoch = epoch;
      for (int rank = 0; rank < spec.size(); rank++) {
        values.add(new CompletableFuture<>());
        backends.add(new CompletableFuture<>());
      }
      // Connected when the last member has said what backend it uses.
      exchanges =
          CompletableFuture.allOf(backends.toArray(new CompletableFuture<?>[0]))
              .thenApply(
                  all ->
                      InProcessExchange.group(
                          backends.stream().map(CompletableFuture::join).toList(),
                          spec.exchange()));
      synchronized (this) {
        for (int rank = 0; rank < spec.size(); rank++) {
          int self = rank;
          Thread thread = new Thread(() -> member(self), "gang-" + spec.name() + "-rank-" + rank);
          thread.setDaemon(true);
          threads.add(thread);
          thread.start();
        }
      }
    }

    private void member(int rank) {
      Member member = new Member(rank);
      try {
        T value = task.run(member);
        if (!backends.get(rank).isDone()) {
          backends
              .get(rank)
              .completeExceptionally(
                  new ExchangeAbortedException("rank " + rank + " ended without an exchange"));
        }
        values.get(rank).complete(value);
      } catch (Throwable e) {
        fail(rank, e);
        values.get(rank).completeExceptionally(e);
      } finally {
        if (exchanges.isDone() && !exchanges.isCompletedExceptionally()) {
          exchanges.join().get(rank).close();
        }
      }
    }

    /** The first failure counts, but a cause, which may take longer to end, before its echoes. */
    private synchronized void fail(int rank, Throwable e) {
      boolean first = failure == null;
      if (!first && Failure.kind(e, false).compareTo(Failure.kind(failure, false)) >= 0) {
        return;
      }
      Fault fault = e instanceof MixedGpuException m ? m.fault() : Fault.MISSING;
      failure =
          new MixedGpuException(
              fault,
              String.format(
                  "Gang '%s' failed in epoch %d: rank %d (%s) in this process: %s",
                  spec.name(), epoch, rank, spec.roleOf(rank), e),
              e);
      if (first) {
        stop("rank " + rank + " failed: " + e);
      }
    }

    private synchronized void stop(String reason) {
      for (CompletableFuture<Backend> backend : backends) {
        backend.completeExceptionally(new ExchangeAbortedException(reason));
      }
      if (exchanges.isDone() && !exchanges.isCompletedExceptionally()) {
        exchanges.join().get(0).abort(reason);
      }
      for (Thread thread : threads) {
        if (thread != Thread.currentThread()) {
          thread.interrupt();
        }
      }
    }

    private synchronized boolean stopped() {
      return failure != null;
    }

    List<T> results() {
      try {
        for (Thread thread : threads) {
          thread.join();
        }
      } catch (InterruptedException e) {
        MixedGpuException stopped =
            new MixedGpuException(
                Fault.MISSING,
                "Gang '" + spec.name() + "' was stopped: its caller was interrupted",
                e);
        synchronized (this) {
          failure = failure == null ? stopped : failure;
        }
        stop(stopped.getMessage());
        Thread.currentThread().interrupt();
        throw stopped;
      }
      synchronized (this) {
        if (failure != null) {
          throw failure;
        }
      }
      return values.stream().map(CompletableFuture::join).toList();
    }

    /** A member that is a thread. */
    private final class Member implements MemberContext {
      private final int rank;

      Member(int rank) {
        this.rank = rank;
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
        return spec.roleOf(rank);
      }

      @Override
      public int rank() {
        return rank;
      }

      @Override
      public int attentionMembers() {
        return spec.attention().members();
      }

      @Override
      public int expertMembers() {
        return spec.expert().members();
      }

      @Override
      public String generation() {
        return (role() == Role.ATTENTION ? spec.attention() : spec.expert()).generation();
      }

      @Override
      public List<String> addresses() {
        return List.of();
      }

      @Override
      public String host() {
        return "localhost";
      }

      @Override
      public Exchange exchange(Backend backend) {
        backends.get(rank).complete(backend);
        try {
          Exchange exchange = exchanges.get().get(rank);
          Check.input(
              backends.get(rank).join() == backend,
              "Rank %d has an exchange for another backend; one member has one exchange",
              rank);
          return exchange;
        } catch (ExecutionException e) {
          throw e.getCause() instanceof MixedGpuException m
              ? m
              : new MixedGpuException(Fault.BUG, "Cannot connect rank " + rank, e.getCause());
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
          throw new MixedGpuException(
              Fault.MISSING, "Interrupted while rank " + rank + " waited for its peers", e);
        }
      }

      @Override
      public void report(Serializable progress) {
        synchronized (Run.this) {
          spec.listener().reported(epoch, rank, progress);
        }
      }

      @Override
      public boolean aborted() {
        return stopped();
      }
    }
  }
}

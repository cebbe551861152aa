package org.mixedgpu.backend.cpu;

import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntConsumer;

/**
 * The compute threads of one backend. The caller of {@link #run} works too, so that n threads need
 * n-1 workers, and several callers (lanes) may run at the same time and share the workers. How an
 * op is cut into tasks is for the op to decide by shape; which thread runs a task never matters.
 */
final class Workers implements AutoCloseable {
  /**
   * About 20 µs: longer than the pause between the ops of a layer, shorter than a scheduler tick.
   */
  private static final int SPINS = 2000;

  private final Thread[] threads;
  private final ConcurrentLinkedQueue<Job> jobs = new ConcurrentLinkedQueue<>();
  private final Semaphore wake = new Semaphore(0);
  private final AtomicInteger sleeping = new AtomicInteger();
  private volatile boolean closed;

  Workers(int count, String name) {
    threads = new Thread[count - 1];
    for (int i = 0; i < threads.length; i++) {
      threads[i] = new Thread(this::work, name + "-" + (i + 1));
      threads[i].setDaemon(true);
      threads[i].start();
    }
  }

  int count() {
    return threads.length + 1;
  }

  /** Runs task 0 to tasks-1, each once, and returns when all are done. */
  void run(int tasks, IntConsumer task) {
    if (tasks == 1 || threads.length == 0) {
      for (int i = 0; i < tasks; i++) {
        task.accept(i);
      }
      return;
    }
    if (tasks <= 0) {
      return;
    }
    Job job = new Job(tasks, task, Thread.currentThread());
    jobs.add(job);
    int asleep = sleeping.get();
    if (asleep > 0) {
      wake.release(Math.min(tasks - 1, asleep));
    }
    job.help();
    jobs.remove(job);
    job.await();
  }

  /**
   * Cuts {@code rows} into ranges of at least {@code grain} elements. Only for ops whose result for
   * a row does not depend on the other rows of its range.
   */
  void rows(long rows, long rowElements, long grain, RowRange body) {
    long perTask = Math.max(1, grain / Math.max(1, rowElements));
    long most = Math.max(1, Math.min((rows + perTask - 1) / perTask, 4L * count()));
    if (count() == 1 || most == 1) {
      if (rows > 0) {
        body.accept(0, rows);
      }
      return;
    }
    run((int) most, i -> body.accept(rows * i / most, rows * (i + 1) / most));
  }

  interface RowRange {
    void accept(long from, long to);
  }

  private void work() {
    while (!closed) {
      Job job = jobs.peek();
      if (job == null) {
        await();
      } else {
        job.help();
        jobs.remove(job);
      }
    }
  }

  private void await() {
    for (int i = 0; i < SPINS; i++) {
      if (!jobs.isEmpty() || closed) {
        return;
      }
      Thread.onSpinWait();
    }
    // Counted before the last look at the jobs: whoever adds one after that look sees the sleeper.
    sleeping.incrementAndGet();
    if (jobs.isEmpty() && !closed) {
      wake.acquireUninterruptibly();
    }
    sleeping.decrementAndGet();
  }

  @Override
  public void close() {
    closed = true;
    for (Thread thread : threads) {
      wake.release(threads.length);
      LockSupport.unpark(thread);
    }
    boolean interrupted = false;
    for (Thread thread : threads) {
      while (thread.isAlive()) {
        try {
          wake.release(threads.length);
          thread.join(100);
        } catch (InterruptedException e) {
          interrupted = true;
        }
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private static final class Job {
    private final int tasks;
    private final IntConsumer task;
    private final Thread caller;
    private final AtomicInteger next = new AtomicInteger();
    private final AtomicInteger left;
    private final AtomicReference<Throwable> failure = new AtomicReference<>();

    Job(int tasks, IntConsumer task, Thread caller) {
      this.tasks = tasks;
      this.task = task;
      this.caller = caller;
      this.left = new AtomicInteger(tasks);
    }

    void help() {
      for (int i = next.getAndIncrement(); i < tasks; i = next.getAndIncrement()) {
        try {
          if (failure.get() == null) {
            task.accept(i);
          }
        } catch (Throwable e) {
          failure.compareAndSet(null, e);
        }
        if (left.decrementAndGet() == 0) {
          LockSupport.unpark(caller);
        }
      }
    }

    void await() {
      for (int i = 0; left.get() > 0; i++) {
        if (i < SPINS) {
          Thread.onSpinWait();
        } else {
          LockSupport.park(this);
          // An op cannot stop half way; park returns at once while the flag is set, so yield.
          if (Thread.currentThread().isInterrupted()) {
            Thread.yield();
          }
        }
      }
      Throwable first = failure.get();
      if (first instanceof RuntimeException e) {
        throw e;
      }
      if (first instanceof Error e) {
        throw e;
      }
    }
  }
}

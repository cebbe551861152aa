package org.mixedgpu.backend;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** A lane for backends whose ops are done when they return: one host thread and its queue. */
public final class HostLane implements Lane {
  private final String name;
  private final LinkedBlockingQueue<Runnable> queue = new LinkedBlockingQueue<>();
  private final Thread thread;
  private volatile Throwable failure;
  private volatile boolean ended;

  public HostLane(String name) {
    this.name = name;
    this.thread = new Thread(this::run, name);
    thread.setDaemon(true);
    thread.start();
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public void submit(Runnable work) {
    enqueue(
        () -> {
          if (failure == null) {
            work.run();
          }
        });
  }

  @Override
  public Event record() {
    Point point = new Point();
    enqueue(point::reach);
    return point;
  }

  @Override
  public void await(Event event) {
    submit(event::synchronize);
  }

  @Override
  public void synchronize() {
    if (!ended) {
      record().synchronize();
    } else {
      rethrow(failure);
    }
  }

  /**
   * Also ends the thread when earlier work has failed, and then rethrows that failure. Returns when
   * its work is done, which uses what the caller may free next: an interrupt is told of after that.
   */
  @Override
  public void close() {
    if (ended) {
      return;
    }
    try {
      synchronize();
    } finally {
      synchronized (this) {
        if (!ended) {
          ended = true;
          queue.add(() -> {});
        }
      }
      join();
    }
  }

  private void join() {
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private synchronized void enqueue(Runnable entry) {
    if (ended) {
      throw new MixedGpuException(Fault.BUG, "Lane " + name + " got work after it was closed");
    }
    queue.add(entry);
  }

  private void run() {
    while (!(ended && queue.isEmpty())) {
      try {
        queue.take().run();
      } catch (Throwable e) {
        // Errors too: the lane's owner must learn of them, and waiting work must not hang.
        if (failure == null) {
          failure = e;
        }
      }
    }
  }

  private void rethrow(Throwable first) {
    if (first == null) {
      return;
    }
    String message = "Work on lane " + name + " failed: " + first.getMessage();
    Fault fault = first instanceof MixedGpuException e ? e.fault() : Fault.BUG;
    throw new MixedGpuException(fault, message, first);
  }

  private final class Point implements Event {
    private final CountDownLatch latch = new CountDownLatch(1);
    private volatile Throwable failed;

    void reach() {
      failed = failure;
      latch.countDown();
    }

    @Override
    public void synchronize() {
      try {
        latch.await();
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
        throw new MixedGpuException(
            Fault.UNKNOWN_OUTCOME,
            "Interrupted while waiting for lane " + name + "; its work may go on",
            e);
      }
      rethrow(failed);
    }

    @Override
    public boolean reached() {
      return latch.getCount() == 0;
    }
  }
}

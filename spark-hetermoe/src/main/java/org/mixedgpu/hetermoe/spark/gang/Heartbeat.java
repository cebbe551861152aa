package org.mixedgpu.hetermoe.spark.gang;

import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Tells the driver every second that the member lives, and stops the member when the driver says
 * that the epoch is over, or is silent itself.
 */
final class Heartbeat implements AutoCloseable {
  private static final long PERIOD_MS = 1000;
  private static final int SILENT_DRIVER_LIMIT = 3;

  private final ClusterMember member;
  private final Thread worker;
  private final Thread thread;
  private volatile boolean closed;

  Heartbeat(ClusterMember member, Thread worker) {
    this.member = member;
    this.worker = worker;
    thread = new Thread(this::beat, "gang-heartbeat-rank-" + member.rank());
    thread.setDaemon(true);
    thread.start();
  }

  private void beat() {
    int silent = 0;
    try {
      while (!closed) {
        Thread.sleep(PERIOD_MS);
        try {
          if (GangPlugin.ask(member.poll()) instanceof Answer.Over over) {
            stop(over.reason());
            return;
          }
          silent = 0;
        } catch (InterruptedException e) {
          return;
        } catch (Exception e) {
          if (++silent == SILENT_DRIVER_LIMIT) {
            stop("the driver does not answer: " + e);
            return;
          }
        }
      }
    } catch (InterruptedException e) {
      // close() ends the pause
    }
  }

  private void stop(String reason) {
    synchronized (this) {
      if (!closed) {
        member.stop(reason);
        worker.interrupt();
      }
    }
  }

  /** After this the worker is not interrupted any more. */
  @Override
  public void close() {
    synchronized (this) {
      closed = true;
    }
    thread.interrupt();
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        if (interrupted) {
          throw new MixedGpuException(Fault.MISSING, "Interrupted twice while leaving", e);
        }
        interrupted = true;
      }
    }
    if (interrupted) {
      worker.interrupt();
    }
  }
}

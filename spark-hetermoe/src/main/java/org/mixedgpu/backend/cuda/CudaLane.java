package org.mixedgpu.backend.cuda;

import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.HostLane;
import org.mixedgpu.backend.Lane;

/**
 * A host thread and a stream. The thread queues ops on the stream and runs ahead of it; events
 * order both: the host side of a wait only makes sure that what is waited for has been queued.
 *
 * <p>What the submitting thread has queued on its own stream comes before the work that it submits,
 * as on a device whose ops are done when they return.
 */
final class CudaLane implements Lane {
  private final CudaDevice device;
  private final CudaStream stream;
  private final HostLane host;
  private boolean closed;

  /**
   * @param urgent see {@link org.mixedgpu.backend.Backend#urgentLane}
   */
  CudaLane(CudaDevice device, String name, boolean urgent) {
    this.device = device;
    this.stream = device.streams().open(name, urgent);
    this.host = new HostLane(name);
    host.submit(() -> device.streams().bind(stream));
  }

  @Override
  public String name() {
    return host.name();
  }

  @Override
  public void submit(Runnable work) {
    CudaStream caller = device.current();
    device.makeCurrent();
    CudaEvent before = caller == stream ? null : caller.mark();
    host.submit(
        before == null
            ? work
            : () -> {
              waitFor(before);
              work.run();
            });
  }

  @Override
  public Event record() {
    Point point = new Point();
    host.submit(
        () -> {
          device.makeCurrent();
          point.queued = stream.record();
        });
    point.host = host.record();
    return point;
  }

  @Override
  public void await(Event event) {
    if (event instanceof Point point && point.device() == device) {
      host.submit(
          () -> {
            point.host.synchronize();
            waitFor(point.queued);
          });
    } else {
      host.await(event);
    }
  }

  /** As an op: what others are told to wait for includes it. */
  private void waitFor(CudaEvent event) {
    device.makeCurrent();
    synchronized (stream) {
      stream.opBegins();
      event.await(stream);
    }
  }

  @Override
  public void synchronize() {
    host.synchronize();
    stream.synchronize();
  }

  /** Also gives back the stream when earlier work has failed, and then rethrows that failure. */
  @Override
  public void close() {
    synchronized (this) {
      if (closed) {
        host.close();
        return;
      }
      closed = true;
    }
    try {
      synchronize();
    } finally {
      try {
        host.close();
      } finally {
        device.streams().close(stream);
      }
    }
  }

  /** What has been queued so far, on the thread and on the stream. */
  private final class Point implements Event {
    private Event host;

    /** Null until the thread is there, and where earlier work has failed. */
    private volatile CudaEvent queued;

    private CudaDevice device() {
      return device;
    }

    @Override
    public void synchronize() {
      host.synchronize();
      queued.synchronize();
    }

    @Override
    public boolean reached() {
      return host.reached() && (queued == null || queued.reached());
    }
  }
}

package org.mixedgpu.backend;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.mixedgpu.base.Intercepted;

/** Counts the stamps of backends that were taken and not given back. */
public final class StampCount {
  private final AtomicInteger taken = new AtomicInteger();
  private final AtomicInteger open = new AtomicInteger();

  /** The same backend, its stamps counted; closing it closes the given one. */
  public TrainingBackend over(TrainingBackend inner) {
    return Intercepted.over(
        TrainingBackend.class,
        inner,
        (method, arguments, call) -> {
          Object result = call.proceed();
          return result instanceof Stamp stamp ? new Counted(stamp) : result;
        });
  }

  public int taken() {
    return taken.get();
  }

  public int open() {
    return open.get();
  }

  private final class Counted implements Stamp {
    private final Stamp inner;
    private final AtomicBoolean closed = new AtomicBoolean();

    Counted(Stamp inner) {
      this.inner = inner;
      taken.incrementAndGet();
      open.incrementAndGet();
    }

    @Override
    public long nanosSince(Stamp earlier) {
      return inner.nanosSince(((Counted) earlier).inner);
    }

    @Override
    public void close() {
      if (closed.compareAndSet(false, true)) {
        open.decrementAndGet();
      }
      inner.close();
    }
  }
}

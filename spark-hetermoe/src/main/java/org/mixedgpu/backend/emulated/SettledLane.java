package org.mixedgpu.backend.emulated;

import org.mixedgpu.backend.Event;
import org.mixedgpu.backend.Lane;

/**
 * A lane whose thread itself waits for other lanes' events, instead of leaving that to the device:
 * what it does next then starts on a device that is free for it.
 */
final class SettledLane implements Lane {
  private final Lane inner;

  /**
   * @param inner closed with this
   */
  SettledLane(Lane inner) {
    this.inner = inner;
  }

  @Override
  public String name() {
    return inner.name();
  }

  @Override
  public void submit(Runnable work) {
    inner.submit(work);
  }

  @Override
  public Event record() {
    return inner.record();
  }

  @Override
  public void await(Event event) {
    inner.submit(event::synchronize);
  }

  @Override
  public void synchronize() {
    inner.synchronize();
  }

  @Override
  public void close() {
    inner.close();
  }
}

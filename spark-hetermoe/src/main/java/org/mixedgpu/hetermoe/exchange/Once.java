package org.mixedgpu.hetermoe.exchange;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

/** A listener that hears the first word only, whoever says it how often. */
public final class Once implements Consumer<String> {
  private final Consumer<String> listener;
  private final AtomicBoolean told = new AtomicBoolean();

  public Once(Consumer<String> listener) {
    this.listener = listener;
  }

  @Override
  public void accept(String word) {
    if (told.compareAndSet(false, true)) {
      listener.accept(word);
    }
  }
}

package org.mixedgpu.base;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;

/** The threads of this process, by name. */
public final class LiveThreads {
  private LiveThreads() {}

  /** Fails where there are still some after two seconds: a thread ends just after its last work. */
  public static void assertNoneSoon(String regex) throws InterruptedException {
    for (int i = 0; i < 200 && !named(regex).isEmpty(); i++) {
      Thread.sleep(10);
    }
    assertThat(named(regex)).isEmpty();
  }

  public static List<String> named(String regex) {
    return Thread.getAllStackTraces().keySet().stream()
        .map(Thread::getName)
        .filter(name -> name.matches(regex))
        .toList();
  }
}

package org.mixedgpu.local;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class ChildTest {
  /** Would run for a minute. */
  public static final class Sleeper {
    private Sleeper() {}

    public static void main(String[] arguments) throws InterruptedException {
      System.out.println("sleeping " + arguments[0]);
      Thread.sleep(60_000);
    }
  }

  @Test
  void aProcessEndsWithTheOneThatStartedItHoweverThatEnds() throws Exception {
    Process parent = new ProcessBuilder("sleep", "60").start();
    Process child =
        new ProcessBuilder(
                List.of(
                    Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                    "-cp",
                    System.getProperty("java.class.path"),
                    Child.class.getName(),
                    "" + parent.pid(),
                    Sleeper.class.getName(),
                    "well"))
            .redirectErrorStream(true)
            .start();
    try {
      assertThat(child.inputReader().readLine()).isEqualTo("sleeping well");
      parent.destroyForcibly();
      assertThat(child.waitFor(20, TimeUnit.SECONDS)).isTrue();
      assertThat(child.exitValue()).isEqualTo(143);
    } finally {
      parent.destroyForcibly();
      child.destroyForcibly();
    }
  }
}

package org.mixedgpu.cake.quickstart;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** The quick start as a process of its own, as Maven starts it. */
class QuickStartIT {
  private static final Duration LIMIT = Duration.ofMinutes(9);

  private final Path folder =
      Path.of("target", "quickstart-it-" + UUID.randomUUID()).toAbsolutePath();

  @Test
  void trainsAndPrefillsAndLeavesAReportAndNoProcess() throws Exception {
    Process process = start("--steps", "4");
    List<ProcessHandle> children = childrenWhen(process, "Training a mixture of experts");
    assertThat(children).hasSizeGreaterThanOrEqualTo(5);
    assertThat(process.waitFor(LIMIT.toSeconds(), TimeUnit.SECONDS)).as(output()).isTrue();
    assertThat(process.exitValue()).as(output()).isZero();
    assertThat(output())
        .contains("Loss by training step", "TTFT median ms")
        .contains("All modes gave the same next tokens: true");
    assertThat(Files.readString(folder.resolve("report.html"))).contains("<svg", "TTFT (ms)");
    assertThat(children).noneMatch(ProcessHandle::isAlive);
  }

  /** What Ctrl-C does: the JVM is told to end, and its hooks run. */
  @Test
  void anInterruptEndsEverythingItStarted() throws Exception {
    Process process = start();
    List<ProcessHandle> children = childrenWhen(process, "Up: spark://");
    assertThat(children).hasSizeGreaterThanOrEqualTo(5).allMatch(ProcessHandle::isAlive);
    process.destroy();
    assertThat(process.waitFor(90, TimeUnit.SECONDS)).as(output()).isTrue();
    for (ProcessHandle child : children) {
      child.onExit().get(30, TimeUnit.SECONDS);
    }
    assertThat(folder.resolve("report.html")).doesNotExist();
  }

  /** Processes of the cluster once the output says this. */
  private List<ProcessHandle> childrenWhen(Process process, String text)
      throws IOException, InterruptedException {
    long deadline = System.nanoTime() + LIMIT.toNanos();
    while (!output().contains(text)) {
      assertThat(process.isAlive() && System.nanoTime() < deadline).as(output()).isTrue();
      Thread.sleep(200);
    }
    return process.descendants().toList();
  }

  private Process start(String... arguments) throws IOException {
    Files.createDirectories(folder);
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    ManagementFactory.getRuntimeMXBean().getInputArguments().stream()
        .filter(option -> option.startsWith("--add-") || option.startsWith("-Dio.netty"))
        .forEach(command::add);
    command.add("-Xmx1g");
    // A class path of 240 jars is longer than some systems allow for one argument.
    Path classPath = folder.resolve("classpath");
    Files.writeString(classPath, "-cp " + System.getProperty("java.class.path"));
    command.add("@" + classPath);
    command.add(QuickStart.class.getName());
    command.add("--folder");
    command.add(folder.toString());
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command)
        .redirectErrorStream(true)
        .redirectOutput(folder.resolve("output.txt").toFile())
        .start();
  }

  private String output() throws IOException {
    return Files.readString(folder.resolve("output.txt"));
  }
}

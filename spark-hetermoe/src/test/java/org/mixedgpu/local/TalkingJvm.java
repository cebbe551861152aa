package org.mixedgpu.local;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * Another JVM with this one's class path, options, properties of ours and environment, that talks
 * in lines: it says them on its output and is told them on its input. It ends with this process.
 */
public final class TalkingJvm implements AutoCloseable {
  /** What no line is. */
  private static final String END = "\n";

  private final String name;
  private final Process process;
  private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();

  private TalkingJvm(String name, Process process) {
    this.name = name;
    this.process = process;
    Thread reader = new Thread(this::read, name + "-output");
    reader.setDaemon(true);
    reader.start();
  }

  /**
   * Starts it.
   *
   * @param name for messages
   * @param options of the JVM, after this one's
   */
  public static TalkingJvm start(
      String name, List<String> options, Class<?> main, List<String> arguments) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    for (String option : ManagementFactory.getRuntimeMXBean().getInputArguments()) {
      if (!option.startsWith("-javaagent")) {
        command.add(option);
      }
    }
    for (String property : System.getProperties().stringPropertyNames()) {
      // Those that a test runner has set are not among the options.
      if (property.startsWith("mixedgpu.")) {
        command.add("-D" + property + "=" + System.getProperty(property));
      }
    }
    command.addAll(options);
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), Child.class.getName()));
    command.addAll(List.of("" + ProcessHandle.current().pid(), main.getName()));
    command.addAll(arguments);
    try {
      ProcessBuilder builder = new ProcessBuilder(command);
      return new TalkingJvm(name, builder.redirectError(ProcessBuilder.Redirect.INHERIT).start());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private void read() {
    try (BufferedReader output =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      for (String line = output.readLine(); line != null; line = output.readLine()) {
        lines.add(line);
      }
    } catch (IOException e) {
      lines.add("(output is lost: " + e + ")");
    }
    lines.add(END);
  }

  /**
   * The rest of the next line that starts with this word and a blank, or is the word; other lines
   * are printed.
   */
  public String await(String word, Duration limit) throws InterruptedException {
    long deadline = System.nanoTime() + limit.toNanos();
    while (true) {
      String line = lines.poll(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
      if (line == null) {
        throw new AssertionError(name + " did not say '" + word + "' within " + limit);
      }
      if (line.equals(END)) {
        lines.add(END);
        throw new AssertionError(name + " ended before it said '" + word + "'");
      }
      if (line.equals(word) || line.startsWith(word + " ")) {
        return line.substring(Math.min(line.length(), word.length() + 1));
      }
      System.out.println(name + ": " + line);
    }
  }

  public void tell(String line) {
    try {
      process.getOutputStream().write((line + "\n").getBytes(StandardCharsets.UTF_8));
      process.getOutputStream().flush();
    } catch (IOException e) {
      throw new UncheckedIOException(name + " does not listen", e);
    }
  }

  public Process process() {
    return process;
  }

  /** Ends the process as SIGKILL does. */
  @Override
  public void close() {
    process.destroyForcibly();
  }
}

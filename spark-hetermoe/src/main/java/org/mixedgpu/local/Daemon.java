package org.mixedgpu.local;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** A running process with its log. */
final class Daemon implements AutoCloseable {
  private static final int SHOWN_LINES = 25;
  private static final Duration GRACE = Duration.ofSeconds(5);

  private final String name;
  private final Process process;
  private final Path log;

  private Daemon(String name, Process process, Path log) {
    this.name = name;
    this.process = process;
    this.log = log;
  }

  static Daemon start(String name, ProcessBuilder builder, Path log) {
    try {
      Files.createDirectories(log.getParent());
      builder.redirectErrorStream(true).redirectOutput(log.toFile());
      return new Daemon(name, builder.start(), log);
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.MISSING, "Cannot start " + name + ": " + builder.command().get(0), e);
    }
  }

  String name() {
    return name;
  }

  boolean alive() {
    return process.isAlive();
  }

  long pid() {
    return process.pid();
  }

  /** Waits until the condition holds; fails when the process ends or the time is over. */
  void awaitReady(BooleanSupplier ready, Duration limit) {
    long deadline = System.nanoTime() + limit.toNanos();
    while (!ready.getAsBoolean()) {
      if (!alive()) {
        throw failure("ended with code " + process.exitValue() + " while starting");
      }
      if (System.nanoTime() > deadline) {
        throw failure("was not ready after " + limit.toSeconds() + " s");
      }
      Pause.millis(100);
    }
  }

  /** Waits for the end; kills the process and fails when the time is over. */
  int awaitExit(Duration limit) {
    try {
      if (!process.waitFor(limit.toMillis(), TimeUnit.MILLISECONDS)) {
        close();
        throw failure("did not end within " + limit.toSeconds() + " s and was killed");
      }
      return process.exitValue();
    } catch (InterruptedException e) {
      close();
      Thread.currentThread().interrupt();
      throw new MixedGpuException(Fault.EXHAUSTED, "Interrupted while waiting for " + name, e);
    }
  }

  String output() {
    try {
      // Not readString: a process killed in the middle of a character must still be readable.
      return new String(Files.readAllBytes(log), StandardCharsets.UTF_8);
    } catch (IOException e) {
      return "(log " + log + " is not readable: " + e.getMessage() + ")";
    }
  }

  MixedGpuException failure(String what) {
    List<String> lines = output().lines().toList();
    String end =
        String.join("\n", lines.subList(Math.max(0, lines.size() - SHOWN_LINES), lines.size()));
    return new MixedGpuException(
        Fault.MISSING, name + " " + what + "; log " + log + " ends with:\n" + end);
  }

  /** Asks the process to end, and ends it by force when it does not. Idempotent. */
  @Override
  public void close() {
    process.descendants().forEach(ProcessHandle::destroy);
    process.destroy();
    try {
      if (process.waitFor(GRACE.toMillis(), TimeUnit.MILLISECONDS)) {
        return;
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    process.descendants().forEach(ProcessHandle::destroyForcibly);
    process.destroyForcibly();
  }
}

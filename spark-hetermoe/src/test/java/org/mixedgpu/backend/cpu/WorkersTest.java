package org.mixedgpu.backend.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicIntegerArray;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class WorkersTest {

  @Test
  void everyTaskRunsOnce() {
    for (int threads = 1; threads <= 4; threads++) {
      try (Workers workers = new Workers(threads, "test")) {
        for (int tasks : new int[] {0, 1, 2, 7, 1000}) {
          AtomicIntegerArray runs = new AtomicIntegerArray(Math.max(1, tasks));
          workers.run(tasks, runs::incrementAndGet);
          for (int i = 0; i < tasks; i++) {
            assertThat(runs.get(i)).isEqualTo(1);
          }
        }
      }
    }
  }

  @Test
  void rangesCoverAllRowsOnce() {
    try (Workers workers = new Workers(3, "test")) {
      for (int rows : new int[] {0, 1, 5, 97, 10_000}) {
        AtomicIntegerArray runs = new AtomicIntegerArray(Math.max(1, rows));
        workers.rows(
            rows,
            10,
            100,
            (from, to) -> {
              for (long r = from; r < to; r++) {
                runs.incrementAndGet((int) r);
              }
            });
        for (int i = 0; i < rows; i++) {
          assertThat(runs.get(i)).isEqualTo(1);
        }
      }
    }
  }

  @Test
  void aFailureReachesTheCallerAndTheWorkersGoOn() {
    try (Workers workers = new Workers(3, "test")) {
      for (int round = 0; round < 50; round++) {
        int bad = round;
        assertThatThrownBy(
                () ->
                    workers.run(
                        60,
                        i -> {
                          if (i == bad) {
                            throw new IllegalStateException("task " + i);
                          }
                        }))
            .isInstanceOf(IllegalStateException.class)
            .hasMessage("task " + bad);
      }
      everyTaskRunsOnce();
    }
  }

  @Test
  void severalCallersShareTheWorkers() throws ExecutionException, InterruptedException {
    ExecutorService callers = Executors.newFixedThreadPool(6);
    try (Workers workers = new Workers(2, "test")) {
      List<Future<?>> all = new ArrayList<>();
      for (int caller = 0; caller < 6; caller++) {
        all.add(
            callers.submit(
                () -> {
                  for (int round = 0; round < 500; round++) {
                    AtomicIntegerArray runs = new AtomicIntegerArray(9);
                    workers.run(9, runs::incrementAndGet);
                    for (int i = 0; i < 9; i++) {
                      assertThat(runs.get(i)).isEqualTo(1);
                    }
                  }
                }));
      }
      for (Future<?> one : all) {
        one.get();
      }
    } finally {
      callers.shutdown();
    }
  }

  @Test
  void anInterruptedCallerStillGetsAllResults() {
    try (Workers workers = new Workers(2, "test")) {
      Thread.currentThread().interrupt();
      AtomicIntegerArray runs = new AtomicIntegerArray(100);
      workers.run(100, runs::incrementAndGet);
      assertThat(Thread.interrupted()).isTrue();
      for (int i = 0; i < 100; i++) {
        assertThat(runs.get(i)).isEqualTo(1);
      }
    }
  }
}

package org.mixedgpu.backend.bench;

import java.util.Locale;
import java.util.function.Function;
import org.mixedgpu.backend.TrainingBackend;

/**
 * One op and its counterpart.
 *
 * @param torch command of torch_gpu.py, or null for none
 * @param work of one run: TFLOP, or GB read and written where each operand is touched once
 * @param unit TFLOP/s or GB/s
 * @param open makes the operands and gives what is to be timed
 */
record OpCase(
    String name, String torch, double work, String unit, Function<DeviceData, Runnable> open) {
  static final String TFLOPS = "TFLOP/s";
  static final String GBS = "GB/s";

  /** Times it by turns, so that neither side holds the GPU's memory while the other runs. */
  void run(TrainingBackend backend, TorchGpu python, Results results, int rounds, double copy) {
    Samples ours = null;
    Samples theirs = null;
    double queueing = 0;
    try {
      for (int round = 0; round < rounds; round++) {
        // In changing order: whoever comes second finds a warmer device.
        for (int turn = 0; turn < 2; turn++) {
          if ((turn + round) % 2 == 0) {
            try (DeviceData data = new DeviceData(backend)) {
              Runnable op = open.apply(data);
              ours = Samples.seconds(backend, op, CudaOpsBenchmark.SAMPLES).and(ours);
              queueing = Samples.queueing(backend, op);
            }
          } else if (python != null && torch != null) {
            String command = "op " + CudaOpsBenchmark.SAMPLES + " " + torch;
            theirs = TorchGpu.seconds(python.ask(command)).and(theirs);
          }
        }
      }
    } catch (RuntimeException e) {
      results.failed(name, e);
      return;
    }
    String notes = String.format(Locale.ROOT, "%.1f µs to queue", 1e6 * queueing);
    if (unit.equals(GBS) && copy > 0) {
      notes = String.format(Locale.ROOT, "%.2f of a copy, ", work / ours.median() / copy) + notes;
    }
    results.speed(name, ours, theirs, work, unit, notes);
  }
}

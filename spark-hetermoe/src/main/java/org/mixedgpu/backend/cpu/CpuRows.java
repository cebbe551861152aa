package org.mixedgpu.backend.cpu;

import java.util.Arrays;
import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;

/** Ops that move, weight and add whole rows. */
final class CpuRows {
  private static final int GRAIN = CpuElementwise.GRAIN;

  /** Columns per task where all rows are summed into one, in their order. */
  private static final int COLUMNS = 256;

  private final Workers workers;

  CpuRows(Workers workers) {
    this.workers = workers;
  }

  void gather(HostTensor out, HostTensor in, HostTensor index) {
    CpuBackend.CHECKS.gatherRows(out, in, index);
    long limit = in.shape().rows();
    long width = out.shape().rowElements();
    workers.rows(
        out.shape().rows(),
        width,
        GRAIN,
        (from, to) -> {
          for (long r = from; r < to; r++) {
            int row = index.int32(r);
            OpChecks.index("gatherRows", "index", row, r, limit);
            out.copy(r * width, in, row * width, width);
          }
        });
  }

  void scatterAdd(HostTensor table, HostTensor dOut, HostTensor index) {
    CpuBackend.CHECKS.scatterAddRows(table, dOut, index);
    int[] rows = index.ints();
    long limit = table.shape().rows();
    for (int i = 0; i < rows.length; i++) {
      OpChecks.index("scatterAddRows", "index", rows[i], i, limit);
    }
    int width = width(dOut.shape());
    // By columns, so that rows that occur more than once are summed in order by one thread.
    columns(
        width,
        (first, count) -> {
          float[] sum = Scratch.ofThread().array(0, COLUMNS);
          float[] add = Scratch.ofThread().array(1, COLUMNS);
          for (int i = 0; i < rows.length; i++) {
            long at = (long) rows[i] * width + first;
            table.load(at, sum, 0, count);
            dOut.load((long) i * width + first, add, 0, count);
            for (int c = 0; c < count; c++) {
              sum[c] += add[c];
            }
            table.store(at, sum, 0, count);
          }
        });
  }

  void combine(
      HostTensor out, HostTensor slots, HostTensor slotOf, HostTensor weights, boolean accumulate) {
    CpuBackend.CHECKS.combineRows(out, slots, slotOf, weights);
    Shape choices = slotOf.shape();
    int width = width(out.shape());
    int perRow = (int) choices.dim(1);
    long limit = slots.shape().rows();
    workers.rows(
        choices.rows(),
        (long) width * perRow,
        GRAIN,
        (from, to) -> {
          float[] sum = Scratch.ofThread().array(0, width);
          float[] slot = Scratch.ofThread().array(1, width);
          for (long r = from; r < to; r++) {
            if (accumulate) {
              out.load(r * width, sum, 0, width);
            } else {
              Arrays.fill(sum, 0, width, 0f);
            }
            for (int j = 0; j < perRow; j++) {
              int row = slotOf.int32(r * perRow + j);
              OpChecks.index("combineRows", "slotOf", row, r * perRow + j, limit);
              slots.load((long) row * width, slot, 0, width);
              float weight = weights == null ? 1f : weights.f32(r * perRow + j);
              axpy(sum, weight, slot, width);
            }
            out.store(r * width, sum, 0, width);
          }
        });
  }

  private static void axpy(float[] sum, float factor, float[] x, int count) {
    for (int i = 0; i < count; i++) {
      sum[i] += factor * x[i];
    }
  }

  void combineBackward(
      HostTensor dSlots,
      HostTensor dWeights,
      HostTensor dOut,
      HostTensor slots,
      HostTensor slotOf,
      HostTensor weights) {
    CpuBackend.CHECKS.combineRowsBackward(dSlots, dWeights, dOut, slots, slotOf, weights);
    Shape choices = slotOf.shape();
    int width = width(dOut.shape());
    int perRow = (int) choices.dim(1);
    long limit = slots.shape().rows();
    workers.rows(
        choices.rows(),
        (long) width * perRow,
        GRAIN,
        (from, to) -> {
          float[] d = Scratch.ofThread().array(0, width);
          float[] slot = Scratch.ofThread().array(1, width);
          for (long r = from; r < to; r++) {
            dOut.load(r * width, d, 0, width);
            for (int j = 0; j < perRow; j++) {
              long choice = r * perRow + j;
              int row = slotOf.int32(choice);
              OpChecks.index("combineRowsBackward", "slotOf", row, choice, limit);
              slots.load((long) row * width, slot, 0, width);
              dWeights.f32(choice, (float) Sums.dot(d, slot, width));
              float weight = weights.f32(choice);
              for (int i = 0; i < width; i++) {
                slot[i] = weight * d[i];
              }
              dSlots.store((long) row * width, slot, 0, width);
            }
          }
        });
  }

  void addBias(HostTensor x, HostTensor bias) {
    CpuBackend.CHECKS.addBias(x, bias);
    Shape shape = x.shape();
    int width = width(shape);
    workers.rows(
        shape.rows(),
        width,
        GRAIN,
        (from, to) -> {
          float[] row = Scratch.ofThread().array(0, width);
          float[] add = Scratch.ofThread().array(1, width);
          bias.load(0, add, 0, width);
          for (long r = from; r < to; r++) {
            x.load(r * width, row, 0, width);
            for (int i = 0; i < width; i++) {
              row[i] += add[i];
            }
            x.store(r * width, row, 0, width);
          }
        });
  }

  /** out[N] (+)= Σ_r x[r,N], in order of r. */
  void sum(HostTensor out, HostTensor x, boolean accumulate) {
    Shape shape = x.shape();
    int width = width(shape);
    columns(
        width,
        (first, count) -> {
          double[] sum = new double[count];
          float[] row = Scratch.ofThread().array(0, COLUMNS);
          for (long r = 0; r < shape.rows(); r++) {
            x.load(r * width + first, row, 0, count);
            for (int c = 0; c < count; c++) {
              sum[c] += row[c];
            }
          }
          store(out, first, count, sum, row, accumulate);
        });
  }

  /** Adds to or replaces columns of a row vector by sums in double. */
  static void store(
      HostTensor out, int first, int count, double[] sum, float[] spare, boolean accumulate) {
    if (accumulate) {
      out.load(first, spare, 0, count);
    } else {
      Arrays.fill(spare, 0, count, 0f);
    }
    for (int c = 0; c < count; c++) {
      spare[c] = (float) (spare[c] + sum[c]);
    }
    out.store(first, spare, 0, count);
  }

  void addGated(HostTensor out, HostTensor x, HostTensor gate) {
    CpuBackend.CHECKS.addGated(out, x, gate);
    Shape shape = out.shape();
    int width = width(shape);
    workers.rows(
        shape.rows(),
        width,
        GRAIN,
        (from, to) -> {
          float[] sum = Scratch.ofThread().array(0, width);
          float[] row = Scratch.ofThread().array(1, width);
          for (long r = from; r < to; r++) {
            out.load(r * width, sum, 0, width);
            x.load(r * width, row, 0, width);
            axpy(sum, Maths.sigmoid(gate.f32(r)), row, width);
            out.store(r * width, sum, 0, width);
          }
        });
  }

  void addGatedBackward(
      HostTensor dX, HostTensor dGate, HostTensor dOut, HostTensor x, HostTensor gate) {
    CpuBackend.CHECKS.addGatedBackward(dX, dGate, dOut, x, gate);
    Shape shape = dOut.shape();
    int width = width(shape);
    workers.rows(
        shape.rows(),
        width,
        GRAIN,
        (from, to) -> {
          float[] d = Scratch.ofThread().array(0, width);
          float[] row = Scratch.ofThread().array(1, width);
          for (long r = from; r < to; r++) {
            dOut.load(r * width, d, 0, width);
            x.load(r * width, row, 0, width);
            float sigmoid = Maths.sigmoid(gate.f32(r));
            dGate.f32(r, (float) (Sums.dot(d, row, width) * sigmoid * (1f - sigmoid)));
            for (int i = 0; i < width; i++) {
              row[i] = sigmoid * d[i];
            }
            dX.store(r * width, row, 0, width);
          }
        });
  }

  interface ColumnRange {
    void accept(int first, int count);
  }

  /** Ranges of columns; the rows of each are for one thread, in order. */
  void columns(int width, ColumnRange body) {
    int tasks = (width + COLUMNS - 1) / COLUMNS;
    workers.run(tasks, i -> body.accept(i * COLUMNS, Math.min(COLUMNS, width - i * COLUMNS)));
  }

  static int width(Shape shape) {
    return Math.toIntExact(shape.rowElements());
  }
}

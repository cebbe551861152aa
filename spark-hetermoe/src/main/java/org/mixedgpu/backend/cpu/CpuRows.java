package org.mixedgpu.backend.cpu;

import java.util.Arrays;
import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
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
    OpChecks.floats("gatherRows", "out", out);
    OpChecks.floats("gatherRows", "in", in);
    Check.input(
        in.shape().withRows(0).equals(out.shape().withRows(0)),
        "gatherRows needs rows of equal shape; found in %s, out %s",
        in.shape(),
        out.shape());
    OpChecks.i32("gatherRows", "index", index, out.shape().rows());
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
    OpChecks.floats("scatterAddRows", "dTable", table);
    OpChecks.floats("scatterAddRows", "dOut", dOut);
    Check.input(
        table.shape().withRows(0).equals(dOut.shape().withRows(0)),
        "scatterAddRows needs rows of equal shape; found dTable %s, dOut %s",
        table.shape(),
        dOut.shape());
    OpChecks.i32("scatterAddRows", "index", index, dOut.shape().rows());
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
    Shape choices = checkCombine("combineRows", out, slots, slotOf);
    if (weights != null) {
      OpChecks.f32("combineRows", "weights", weights, choices.toArray());
    }
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
    Shape choices = checkCombine("combineRowsBackward", dOut, slots, slotOf);
    OpChecks.alike("combineRowsBackward", "dSlots", dSlots, slots);
    OpChecks.f32("combineRowsBackward", "dWeights", dWeights, choices.toArray());
    OpChecks.f32("combineRowsBackward", "weights", weights, choices.toArray());
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
              dWeights.f32(choice, Sums.dot(d, slot, width));
              float weight = weights.f32(choice);
              for (int i = 0; i < width; i++) {
                slot[i] = weight * d[i];
              }
              dSlots.store((long) row * width, slot, 0, width);
            }
          }
        });
  }

  private static Shape checkCombine(
      String op, HostTensor out, HostTensor slots, HostTensor slotOf) {
    Shape rows = OpChecks.rank(op, "out", out, DType.F32, 2);
    Shape choices = OpChecks.rank(op, "slotOf", slotOf, DType.I32, 2);
    OpChecks.i32(op, "slotOf", slotOf, rows.rows(), choices.dim(1));
    OpChecks.f32(op, "slots", slots, rows.rows() * choices.dim(1), rows.dim(1));
    return choices;
  }

  void addBias(HostTensor x, HostTensor bias) {
    Shape shape = OpChecks.rank("addBias", "x", x, DType.F32, 2);
    OpChecks.f32("addBias", "bias", bias, shape.dim(1));
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
  void sum(String op, HostTensor out, HostTensor x, boolean accumulate) {
    Shape shape = OpChecks.rank(op, "rows", x, DType.F32, 2);
    OpChecks.f32(op, "the sum", out, shape.dim(1));
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
    Shape shape = OpChecks.rank("addGated", "out", out, DType.F32, 2);
    OpChecks.alike("addGated", "x", x, out);
    OpChecks.f32("addGated", "gate", gate, shape.rows());
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
    Shape shape = OpChecks.rank("addGatedBackward", "dOut", dOut, DType.F32, 2);
    OpChecks.alike("addGatedBackward", "dX", dX, dOut);
    OpChecks.alike("addGatedBackward", "x", x, dOut);
    OpChecks.f32("addGatedBackward", "gate", gate, shape.rows());
    OpChecks.f32("addGatedBackward", "dGate", dGate, shape.rows());
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
            dGate.f32(r, Sums.dot(d, row, width) * sigmoid * (1f - sigmoid));
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

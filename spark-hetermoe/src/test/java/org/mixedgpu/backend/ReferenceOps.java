package org.mixedgpu.backend;

import java.nio.ByteBuffer;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostMemory;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;
import org.mixedgpu.tensor.Tensor;

/**
 * The definition of {@link Backend}: plain loops in double on copies of the operands, no
 * cleverness. It is never made faster; where it is too slow for a test, the test gets smaller.
 */
abstract class ReferenceOps implements TrainingBackend {
  static final TrainingOpChecks CHECKS = new TrainingOpChecks(DType.F32);

  private final HostMemory memory;

  ReferenceOps(long memoryLimitBytes) {
    memory = new HostMemory("reference", memoryLimitBytes);
  }

  @Override
  public String name() {
    return "reference (plain loops in double)";
  }

  @Override
  public BackendKind kind() {
    return BackendKind.REFERENCE;
  }

  @Override
  public DType computeType() {
    return DType.F32;
  }

  @Override
  public Tensor allocate(DType type, Shape shape) {
    return memory.allocate(type, shape);
  }

  @Override
  public MemoryUse memoryUse() {
    return new MemoryUse(memory.bytes(), memory.peakBytes(), memory.limitBytes(), memory.tensors());
  }

  @Override
  public void write(Tensor to, ByteBuffer from) {
    ((HostTensor) to).write(from);
  }

  @Override
  public void read(ByteBuffer to, Tensor from) {
    ((HostTensor) from).read(to);
  }

  @Override
  public Lane lane(String name) {
    return new HostLane(name);
  }

  @Override
  public void synchronize() {}

  @Override
  public Stamp stamp() {
    return HostStamp.now();
  }

  @Override
  public void close() {
    memory.close();
  }

  // --- access -----------------------------------------------------------------------------------

  static double[] values(Tensor tensor) {
    double[] values = new double[Math.toIntExact(tensor.shape().elements())];
    for (int i = 0; i < values.length; i++) {
      values[i] = ((HostTensor) tensor).f32(i);
    }
    return values;
  }

  static int[] ints(Tensor tensor) {
    return ((HostTensor) tensor).ints();
  }

  static void put(Tensor tensor, double[] values) {
    for (int i = 0; i < values.length; i++) {
      ((HostTensor) tensor).f32(i, (float) values[i]);
    }
  }

  static void put(Tensor tensor, int[] values) {
    for (int i = 0; i < values.length; i++) {
      ((HostTensor) tensor).int32(i, values[i]);
    }
  }

  static int dim(Tensor tensor, int axis) {
    return (int) tensor.shape().dim(axis);
  }

  static double sigmoid(double x) {
    return 1 / (1 + Math.exp(-x));
  }

  // --- element-wise and copies ------------------------------------------------------------------

  @Override
  public void fill(Tensor out, float value) {
    CHECKS.fill(out);
    for (long i = 0; i < out.shape().elements(); i++) {
      ((HostTensor) out).f32(i, value);
    }
  }

  @Override
  public void copy(Tensor out, Tensor in) {
    CHECKS.copy(out, in);
    for (long i = 0; i < out.shape().elements(); i++) {
      HostTensor to = (HostTensor) out;
      HostTensor from = (HostTensor) in;
      if (out.type() == in.type()) {
        if (out.type().bytes() == 2) {
          to.int16(i, from.int16(i));
        } else {
          to.int32(i, from.int32(i));
        }
        continue;
      }
      float value =
          in.type() == DType.F32 ? from.f32(i) : Narrow.of(in.type()).widen(from.int16(i));
      if (out.type() == DType.F32) {
        to.f32(i, value);
      } else {
        to.int16(i, Narrow.of(out.type()).nearest(value));
      }
    }
  }

  @Override
  public void add(Tensor out, Tensor a, Tensor b) {
    CHECKS.add(out, a, b);
    double[] x = values(a);
    double[] y = values(b);
    for (int i = 0; i < x.length; i++) {
      x[i] += y[i];
    }
    put(out, x);
  }

  @Override
  public void scale(Tensor x, float factor) {
    CHECKS.scale(x);
    double[] values = values(x);
    for (int i = 0; i < values.length; i++) {
      values[i] *= factor;
    }
    put(x, values);
  }

  @Override
  public void addBias(Tensor x, Tensor bias) {
    CHECKS.addBias(x, bias);
    double[] values = values(x);
    double[] add = values(bias);
    for (int i = 0; i < values.length; i++) {
      values[i] += add[i % add.length];
    }
    put(x, values);
  }

  @Override
  public void swiglu(Tensor out, Tensor gate, Tensor up) {
    CHECKS.swiglu(out, gate, up);
    double[] g = values(gate);
    double[] u = values(up);
    for (int i = 0; i < g.length; i++) {
      g[i] = g[i] * sigmoid(g[i]) * u[i];
    }
    put(out, g);
  }

  @Override
  public void addGated(Tensor out, Tensor x, Tensor gate) {
    CHECKS.addGated(out, x, gate);
    double[] sum = values(out);
    double[] add = values(x);
    double[] g = values(gate);
    int width = dim(out, 1);
    for (int i = 0; i < sum.length; i++) {
      sum[i] += sigmoid(g[i / width]) * add[i];
    }
    put(out, sum);
  }

  // --- rows -------------------------------------------------------------------------------------

  @Override
  public void gatherRows(Tensor out, Tensor in, Tensor index) {
    CHECKS.gatherRows(out, in, index);
    double[] from = values(in);
    int[] rows = ints(index);
    int width = (int) out.shape().rowElements();
    double[] to = new double[rows.length * width];
    for (int i = 0; i < rows.length; i++) {
      OpChecks.index("gatherRows", "index", rows[i], i, in.shape().rows());
      for (int c = 0; c < width; c++) {
        to[i * width + c] = from[rows[i] * width + c];
      }
    }
    put(out, to);
  }

  @Override
  public void combineRows(
      Tensor out, Tensor slots, Tensor slotOf, Tensor weights, boolean accumulate) {
    CHECKS.combineRows(out, slots, slotOf, weights);
    int width = dim(out, 1);
    int k = dim(slotOf, 1);
    double[] from = values(slots);
    double[] w = weights == null ? null : values(weights);
    int[] slot = ints(slotOf);
    double[] sum = accumulate ? values(out) : new double[(int) out.shape().elements()];
    for (int i = 0; i < slot.length; i++) {
      OpChecks.index("combineRows", "slotOf", slot[i], i, slots.shape().rows());
      for (int c = 0; c < width; c++) {
        sum[i / k * width + c] += (w == null ? 1 : w[i]) * from[slot[i] * width + c];
      }
    }
    put(out, sum);
  }

  // --- matrices ---------------------------------------------------------------------------------

  @Override
  public void matmul(Tensor out, Tensor a, Tensor b, Transpose transpose, float beta) {
    CHECKS.matmul(out, a, b, transpose);
    int m = dim(out, 0);
    int n = dim(out, 1);
    int k = dim(a, transpose == Transpose.TN ? 0 : 1);
    double[] x = values(a);
    double[] y = values(b);
    double[] sum = beta == 0 ? new double[m * n] : values(out);
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        double dot = 0;
        for (int l = 0; l < k; l++) {
          double left = transpose == Transpose.TN ? x[l * m + i] : x[i * k + l];
          double right = transpose == Transpose.NT ? y[j * k + l] : y[l * n + j];
          dot += left * right;
        }
        sum[i * n + j] = dot + (beta == 0 ? 0 : beta * sum[i * n + j]);
      }
    }
    put(out, sum);
  }

  @Override
  public void groupedMatmul(Tensor out, Tensor in, Tensor w, Tensor offsets, Transpose transpose) {
    CHECKS.groupedMatmul(out, in, w, offsets, transpose);
    int[] bounds = ints(offsets);
    OpChecks.offsets("groupedMatmul", bounds, out.shape().rows());
    for (int e = 0; e + 1 < bounds.length; e++) {
      int rows = bounds[e + 1] - bounds[e];
      matmul(out.rows(bounds[e], rows), in.rows(bounds[e], rows), matrix(w, e), transpose, 0f);
    }
  }

  @Override
  public void groupedMatmulWeightGradient(
      Tensor dW, Tensor dOut, Tensor in, Tensor offsets, boolean accumulate) {
    CHECKS.groupedMatmulWeightGradient(dW, dOut, in, offsets);
    int[] bounds = ints(offsets);
    OpChecks.offsets("groupedMatmulWeightGradient", bounds, in.shape().rows());
    for (int e = 0; e + 1 < bounds.length; e++) {
      int rows = bounds[e + 1] - bounds[e];
      matmul(
          matrix(dW, e),
          dOut.rows(bounds[e], rows),
          in.rows(bounds[e], rows),
          Transpose.TN,
          accumulate ? 1 : 0);
    }
  }

  private static Tensor matrix(Tensor stack, int e) {
    return stack.rows(e, 1).view(Shape.of(stack.shape().dim(1), stack.shape().dim(2)));
  }
}

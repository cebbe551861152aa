package org.mixedgpu.backend.cpu;

import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;

/** Matrix products: cut into blocks of the output by shape, each one call of the native BLAS. */
final class CpuMatrix {
  private final Workers workers;

  CpuMatrix(Workers workers) {
    this.workers = workers;
  }

  void matmul(HostTensor out, HostTensor a, HostTensor b, Transpose transpose, float beta) {
    Shape shape = OpChecks.rank("matmul", "out", out, DType.F32, 2);
    Shape left = OpChecks.rank("matmul", "a", a, DType.F32, 2);
    long m = shape.dim(0);
    long n = shape.dim(1);
    long k = transpose == Transpose.TN ? left.dim(0) : left.dim(1);
    if (transpose == Transpose.TN) {
      OpChecks.f32("matmul TN", "a", a, k, m);
    } else {
      OpChecks.f32("matmul " + transpose, "a", a, m, k);
    }
    if (transpose == Transpose.NT) {
      OpChecks.f32("matmul NT", "b", b, n, k);
    } else {
      OpChecks.f32("matmul " + transpose, "b", b, k, n);
    }
    Product product =
        new Product(
            transpose, out.address(), a.address(), b.address(), size(m), size(n), size(k), beta);
    Grid grid = Grid.of(product.m, product.n, product.k);
    workers.run(grid.tasks(), i -> product.block(grid, i));
  }

  void grouped(
      HostTensor out, HostTensor in, HostTensor w, HostTensor offsets, Transpose transpose) {
    Check.input(
        transpose != Transpose.TN,
        "groupedMatmul is NT (forward) or NN (data gradient); use groupedMatmulWeightGradient for"
            + " TN");
    String op = "groupedMatmul " + transpose;
    Shape weights = OpChecks.rank(op, "w", w, DType.F32, 3);
    int experts = size(weights.dim(0));
    int n = size(weights.dim(transpose == Transpose.NT ? 1 : 2));
    int k = size(weights.dim(transpose == Transpose.NT ? 2 : 1));
    long rows = OpChecks.rank(op, "out", out, DType.F32, 2).rows();
    OpChecks.f32(op, "out", out, rows, n);
    OpChecks.f32(op, "in", in, rows, k);
    OpChecks.i32(op, "offsets", offsets, experts + 1L);
    int[] bounds = offsets.ints();
    OpChecks.offsets(op, bounds, rows);
    run(
        experts,
        e ->
            new Product(
                transpose,
                out.address() + 4L * bounds[e] * n,
                in.address() + 4L * bounds[e] * k,
                w.address() + 4L * e * n * k,
                bounds[e + 1] - bounds[e],
                n,
                k,
                0f));
  }

  void groupedWeightGradient(HostTensor dW, HostTensor dOut, HostTensor in, HostTensor offsets) {
    String op = "groupedMatmulWeightGradient";
    Shape weights = OpChecks.rank(op, "dW", dW, DType.F32, 3);
    int experts = size(weights.dim(0));
    int m = size(weights.dim(1));
    int n = size(weights.dim(2));
    long rows = OpChecks.rank(op, "dOut", dOut, DType.F32, 2).rows();
    OpChecks.f32(op, "dOut", dOut, rows, m);
    OpChecks.f32(op, "in", in, rows, n);
    OpChecks.i32(op, "offsets", offsets, experts + 1L);
    int[] bounds = offsets.ints();
    OpChecks.offsets(op, bounds, rows);
    run(
        experts,
        e ->
            new Product(
                Transpose.TN,
                dW.address() + 4L * e * m * n,
                dOut.address() + 4L * bounds[e] * m,
                in.address() + 4L * bounds[e] * n,
                m,
                n,
                bounds[e + 1] - bounds[e],
                1f));
  }

  private interface ProductOfExpert {
    Product of(int expert);
  }

  /** All blocks of all experts' products as one list of tasks. */
  private void run(int experts, ProductOfExpert products) {
    Product[] product = new Product[experts];
    Grid[] grid = new Grid[experts];
    int[] first = new int[experts + 1];
    for (int e = 0; e < experts; e++) {
      product[e] = products.of(e);
      grid[e] = Grid.of(product[e].m, product[e].n, product[e].k);
      first[e + 1] = first[e] + grid[e].tasks();
    }
    workers.run(
        first[experts],
        i -> {
          int e = 0;
          while (first[e + 1] <= i) {
            e++;
          }
          product[e].block(grid[e], i - first[e]);
        });
  }

  private static int size(long extent) {
    return Math.toIntExact(extent);
  }

  /** How a product is cut: rows × columns of blocks, by shape only. */
  record Grid(int rows, int columns) {
    /** Multiply-adds that are worth a task: about 0.2 ms of one core. */
    private static final long WORK = 8L << 20;

    private static final int MOST_TASKS = 16;

    static Grid of(int m, int n, int k) {
      if (m == 0 || n == 0) {
        return new Grid(0, 0);
      }
      long work = (long) m * n * Math.max(1, k);
      int tasks = (int) Math.max(1, Math.min(MOST_TASKS, work / WORK));
      int rows = 1;
      int columns = 1;
      // Halve the longer side: square blocks share most of what they read.
      while (rows * columns * 2 <= tasks) {
        if ((long) m * columns >= (long) n * rows) {
          rows *= 2;
        } else {
          columns *= 2;
        }
      }
      return new Grid(rows, columns);
    }

    int tasks() {
      return rows * columns;
    }
  }

  /** out[m,n] = a · b + beta · out, all dense. */
  private record Product(
      Transpose transpose, long out, long a, long b, int m, int n, int k, float beta) {

    void block(Grid grid, int task) {
      int row = bound(m, task / grid.columns, grid.rows);
      int rows = bound(m, task / grid.columns + 1, grid.rows) - row;
      int column = bound(n, task % grid.columns, grid.columns);
      int columns = bound(n, task % grid.columns + 1, grid.columns) - column;
      boolean transposeA = transpose == Transpose.TN;
      boolean transposeB = transpose == Transpose.NT;
      OpenBlas.sgemm(
          transposeA,
          transposeB,
          rows,
          columns,
          k,
          1f,
          a + 4L * (transposeA ? row : (long) row * k),
          Math.max(1, transposeA ? m : k),
          b + 4L * (transposeB ? (long) column * k : column),
          Math.max(1, transposeB ? k : n),
          beta,
          out + 4L * ((long) row * n + column),
          n);
    }

    /** Bounds at multiples of 8 rows or columns, so that blocks start where the kernels' do. */
    private static int bound(int extent, int part, int parts) {
      return part == parts ? extent : (int) ((long) extent * part / parts) & -8;
    }
  }
}

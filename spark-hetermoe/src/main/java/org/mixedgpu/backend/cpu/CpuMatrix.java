package org.mixedgpu.backend.cpu;

import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.backend.TrainingOpChecks;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.HostTensor;

/** Matrix products: cut into blocks of the output by shape, each one call of the native BLAS. */
final class CpuMatrix {
  private final Workers workers;

  CpuMatrix(Workers workers) {
    this.workers = workers;
  }

  void matmul(HostTensor out, HostTensor a, HostTensor b, Transpose transpose, float beta) {
    OpChecks.matmul(out, a, b, transpose);
    long m = out.shape().dim(0);
    long n = out.shape().dim(1);
    long k = a.shape().dim(transpose == Transpose.TN ? 0 : 1);
    Product product =
        new Product(
            transpose, out.address(), a.address(), b.address(), size(m), size(n), size(k), beta);
    Grid grid = Grid.of(product.m, product.n, product.k);
    workers.run(grid.tasks(), i -> product.block(grid, i));
  }

  void grouped(
      HostTensor out, HostTensor in, HostTensor w, HostTensor offsets, Transpose transpose) {
    OpChecks.groupedMatmul(out, in, w, offsets, transpose);
    int experts = size(w.shape().dim(0));
    int n = size(out.shape().dim(1));
    int k = size(in.shape().dim(1));
    int[] bounds = offsets.ints();
    OpChecks.offsets("groupedMatmul", bounds, out.shape().rows());
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
    TrainingOpChecks.groupedMatmulWeightGradient(dW, dOut, in, offsets);
    int experts = size(dW.shape().dim(0));
    int m = size(dW.shape().dim(1));
    int n = size(dW.shape().dim(2));
    int[] bounds = offsets.ints();
    OpChecks.offsets("groupedMatmulWeightGradient", bounds, in.shape().rows());
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

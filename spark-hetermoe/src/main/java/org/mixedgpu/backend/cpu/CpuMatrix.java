package org.mixedgpu.backend.cpu;

import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.HostTensor;

/** Matrix products: cut into blocks of the output by shape, each one call of the native BLAS. */
final class CpuMatrix {
  /** A common multiple of the rows that the kernels of all processors take at a time. */
  private static final int ROW_UNIT = 48;

  private final Workers workers;

  CpuMatrix(Workers workers) {
    this.workers = workers;
  }

  void matmul(HostTensor out, HostTensor a, HostTensor b, Transpose transpose, float beta) {
    CpuBackend.CHECKS.matmul(out, a, b, transpose);
    long m = out.shape().dim(0);
    long n = out.shape().dim(1);
    long k = a.shape().dim(transpose == Transpose.TN ? 0 : 1);
    Product product =
        new Product(
            transpose, out.address(), a.address(), b.address(), size(m), size(n), size(k), beta);
    Grid grid = Grid.of(product.m, product.n, product.k, workers.count());
    workers.run(grid.tasks(), i -> product.block(grid, i));
  }

  void grouped(
      HostTensor out, HostTensor in, HostTensor w, HostTensor offsets, Transpose transpose) {
    CpuBackend.CHECKS.groupedMatmul(out, in, w, offsets, transpose);
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

  void groupedWeightGradient(
      HostTensor dW, HostTensor dOut, HostTensor in, HostTensor offsets, boolean accumulate) {
    CpuBackend.CHECKS.groupedMatmulWeightGradient(dW, dOut, in, offsets);
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
                accumulate ? 1f : 0f));
  }

  private interface ProductOfExpert {
    Product of(int expert);
  }

  /** All blocks of all experts' products as one list of tasks. */
  private void run(int experts, ProductOfExpert products) {
    Product[] product = new Product[experts];
    Grid[] grid = new Grid[experts];
    int[] first = new int[experts + 1];
    // Many experts are tasks enough; a few are cut, more than once as their sizes differ.
    int threadsOfEach = (2 * workers.count() + experts - 1) / Math.max(1, experts);
    for (int e = 0; e < experts; e++) {
      product[e] = products.of(e);
      grid[e] = Grid.of(product[e].m, product[e].n, product[e].k, threadsOfEach);
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

  /**
   * How a product is cut: rows × columns of blocks. Each block packs its operands anew, which costs
   * a few percent for every halving, so blocks are as large as the threads allow.
   *
   * <p>Cuts between rows at multiples of {@link #ROW_UNIT} leave every bit as it was, because the
   * kernels then see the same groups of rows: there may be as many as threads. Cuts between columns
   * change bits: their number depends on the shape alone.
   */
  record Grid(int rows, int columns) {
    /** Multiply-adds that are worth a task: about 0.2 ms of one core. */
    private static final long WORK = 8L << 20;

    private static final int MOST_TASKS = 16;

    /** Products with fewer rows than two units read the weight once: only columns are cut. */
    private static final int FEW_ROWS = 2 * ROW_UNIT;

    static Grid of(int m, int n, int k, int threads) {
      if (m == 0 || n == 0) {
        return new Grid(0, 0);
      }
      long worth = Math.max(1, (long) m * n * Math.max(1, k) / WORK);
      if (m < FEW_ROWS || n / m >= 4) {
        int widest = m < FEW_ROWS ? 8 : 2048;
        return new Grid(1, (int) Math.min(Math.min(MOST_TASKS, worth), Math.max(1, n / widest)));
      }
      // More than one task for each thread only where blocks stay long: it evens out the load.
      int wanted = threads * Math.max(1, Math.min(4, m / (1024 * threads)));
      return new Grid((int) Math.min(Math.min(wanted, worth), m / ROW_UNIT), 1);
    }

    int tasks() {
      return rows * columns;
    }
  }

  /** out[m,n] = a · b + beta · out, all dense. */
  private record Product(
      Transpose transpose, long out, long a, long b, int m, int n, int k, float beta) {

    void block(Grid grid, int task) {
      int row = bound(m, task / grid.columns, grid.rows, ROW_UNIT);
      int rows = bound(m, task / grid.columns + 1, grid.rows, ROW_UNIT) - row;
      int column = bound(n, task % grid.columns, grid.columns, 8);
      int columns = bound(n, task % grid.columns + 1, grid.columns, 8) - column;
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

    /** Bounds at multiples of a unit, so that blocks start where the kernels' do. */
    private static int bound(int extent, int part, int parts, int unit) {
      return part == parts ? extent : (int) ((long) extent * part / parts) / unit * unit;
    }
  }
}

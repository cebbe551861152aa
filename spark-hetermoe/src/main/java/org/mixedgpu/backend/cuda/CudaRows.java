package org.mixedgpu.backend.cuda;

import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;

/**
 * Ops that move, weight and add whole rows; {@code rows.cu}, {@code gather.cu} and {@code
 * scatter.cu}.
 */
final class CudaRows {
  private static final String FILE = "rows";
  private static final String GATHER = "gather";
  private static final String SCATTER = "scatter";

  /** Blocks per multiprocessor that keep memory busy while columns are summed. */
  private static final int SUM_BLOCKS = 4;

  private static final int PARTIAL_COLUMNS = 32;
  private static final int PARTIAL_THREADS = 1024;

  /** Elements per access where rows are added to a table of F32. */
  private static final int TABLE_ACCESS = 4;

  private static final int WARP = 32;

  /** Lanes where two rows at a time in a block keep more loads in flight than one. */
  private static final int HALF_BLOCK = Geometry.THREADS / 2;

  private final CudaDevice device;
  private final CudaSort sort;

  CudaRows(CudaDevice device) {
    this.device = device;
    this.sort = new CudaSort(device);
  }

  // --- bias, gate and sums --------------------------------------------------------------------

  void addBias(CudaTensor x, CudaTensor bias) {
    Shape shape = x.shape();
    update(
        "addBias", x, Geometry.access(shape.dim(1), x, bias), device.arguments().add(x).add(bias));
  }

  void addGated(CudaTensor out, CudaTensor x, CudaTensor gate) {
    update(
        "addGated",
        out,
        Geometry.access(out.shape().dim(1), out, x),
        device.arguments().add(out).add(x).add(gate));
  }

  /**
   * @param operands to which the shape and its cut are added
   */
  private void update(String function, CudaTensor out, int access, LaunchArguments operands) {
    long rows = out.shape().rows();
    long width = out.shape().dim(1);
    Geometry.Slabs cut = Geometry.Slabs.of(rows, width, access, 0);
    kernel(FILE, function, out.type())
        .launch(
            cut.parts(),
            cut.slabs(),
            1,
            Geometry.THREADS,
            0,
            operands.add(rows).add(width).add(cut.lanes()).add(cut.rowsPerBlock()));
  }

  void addGatedBackward(
      CudaTensor dX, CudaTensor dGate, CudaTensor dOut, CudaTensor x, CudaTensor gate) {
    long rows = x.shape().rows();
    long width = x.shape().dim(1);
    int lanes = rowLanes(width, Geometry.access(width, dX, dOut, x));
    kernel(FILE, "addGatedBackward", x.type())
        .launch(
            Geometry.parts(rows, Geometry.THREADS / lanes),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(dX)
                .add(dGate)
                .add(dOut)
                .add(x)
                .add(gate)
                .add(rows)
                .add(width)
                .add(lanes));
  }

  void addBiasBackward(CudaTensor dBias, CudaTensor dOut) {
    sumColumns(dBias, dOut, true);
  }

  void sumRows(CudaTensor out, CudaTensor x) {
    sumColumns(out, x, false);
  }

  private void sumColumns(CudaTensor out, CudaTensor x, boolean accumulate) {
    long rows = x.shape().rows();
    long width = x.shape().dim(1);
    Geometry.Slabs cut =
        Geometry.Slabs.of(
            rows, width, Geometry.access(width, x), (long) SUM_BLOCKS * device.multiprocessors());
    CudaTensor partial = partial(device, cut.parts() * width);
    kernel(FILE, "columnSums", x.type())
        .launch(
            cut.parts(),
            cut.slabs(),
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(partial)
                .add(x)
                .add(rows)
                .add(width)
                .add(cut.lanes())
                .add(cut.rowsPerBlock()));
    addPartials(device, out, partial, cut.parts(), width, accumulate);
  }

  /** Scratch memory for sums of parts of the rows. */
  static CudaTensor partial(CudaDevice device, long elements) {
    return device.scratch().bytes("partial sums", elements * Float.BYTES);
  }

  /** out[width] = or += the sum of so many partial rows. */
  static void addPartials(
      CudaDevice device,
      CudaTensor out,
      CudaTensor partial,
      long parts,
      long width,
      boolean accumulate) {
    device
        .kernels()
        .get(FILE, "addPartials", DType.F32)
        .launch(
            Geometry.parts(width, PARTIAL_COLUMNS),
            1,
            1,
            PARTIAL_THREADS,
            0,
            device
                .arguments()
                .add(out)
                .add(partial)
                .add(Math.toIntExact(parts))
                .add(width)
                .add(accumulate ? 1 : 0));
  }

  // --- by index -------------------------------------------------------------------------------

  void gatherRows(CudaTensor out, CudaTensor in, CudaTensor index) {
    long rows = out.shape().rows();
    long width = out.shape().rowElements();
    int lanes = rowLanes(width, Geometry.access(width, in, out));
    kernel(GATHER, "gatherRows", out.type())
        .launch(
            Geometry.parts(rows, Geometry.THREADS / lanes),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(out)
                .add(in)
                .add(index)
                .add(rows)
                .add(width)
                .add(in.shape().rows())
                .add(lanes)
                .add(device.faults().pointer()));
  }

  void combineRows(
      CudaTensor out, CudaTensor slots, CudaTensor slotOf, CudaTensor weights, boolean accumulate) {
    long rows = out.shape().rows();
    long width = out.shape().dim(1);
    int access = Geometry.access(width, slots, out);
    int lanes = Geometry.lanes(Geometry.parts(width, access), HALF_BLOCK);
    kernel(GATHER, "combineRows", out.type())
        .launch(
            Geometry.parts(rows, Geometry.THREADS / lanes),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(out)
                .add(slots)
                .add(slotOf)
                .add(weights)
                .add(accumulate ? 1 : 0)
                .add(rows)
                .add((int) slotOf.shape().dim(1))
                .add(width)
                .add(lanes)
                .add(device.faults().pointer()));
  }

  void combineRowsBackward(
      CudaTensor dSlots,
      CudaTensor dWeights,
      CudaTensor dOut,
      CudaTensor slots,
      CudaTensor slotOf,
      CudaTensor weights) {
    long choices = slotOf.shape().elements();
    long width = dOut.shape().dim(1);
    int access = Geometry.access(width, dSlots, slots, dOut);
    int lanes = Geometry.lanes(Geometry.parts(width, access), WARP);
    kernel(GATHER, "combineRowsBackward", dOut.type())
        .launch(
            Geometry.parts(choices, Geometry.THREADS / lanes),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(dSlots)
                .add(dWeights)
                .add(dOut)
                .add(slots)
                .add(slotOf)
                .add(weights)
                .add(choices)
                .add((int) slotOf.shape().dim(1))
                .add(width)
                .add(lanes)
                .add(device.faults().pointer()));
  }

  /**
   * By sorting the indexes: rows of one index are then neighbours, and the same threads add them.
   */
  void scatterAddRows(CudaTensor dTable, CudaTensor dOut, CudaTensor index) {
    long n = dOut.shape().rows();
    long width = dOut.shape().rowElements();
    long tableRows = dTable.shape().rows();
    if (n == 0 || width == 0) {
      return;
    }
    CudaSort.Pairs sorted = sort.byRow(index, tableRows);
    boolean inFours =
        width % TABLE_ACCESS == 0
            && Geometry.aligned(dTable)
            && dOut.pointer() % (TABLE_ACCESS * dOut.type().bytes()) == 0;
    int access = inFours ? TABLE_ACCESS : 1;
    int lanes = Math.max(WARP, Math.min(HALF_BLOCK, rowLanes(width, access)));
    kernel(SCATTER, "scatterRuns", dOut.type())
        .launch(
            Geometry.parts(n, Geometry.THREADS / lanes),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(dTable)
                .add(dOut)
                .add(sorted.keys())
                .add(sorted.order())
                .add(n)
                .add(width)
                .add(tableRows)
                .add(lanes));
  }

  /** Lanes that have {@link Geometry#AHEAD} accesses each, where the row is long enough. */
  private static int rowLanes(long width, int access) {
    return Geometry.lanes(Geometry.parts(width, (long) access * Geometry.AHEAD), Geometry.THREADS);
  }

  private Kernel kernel(String file, String function, DType type) {
    return device.kernels().get(file, function, type);
  }
}

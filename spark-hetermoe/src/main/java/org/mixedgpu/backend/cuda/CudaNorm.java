package org.mixedgpu.backend.cuda;

import org.mixedgpu.tensor.DType;

/** Root-mean-square norm and rotary position embedding; {@code rms_norm.cu} and {@code rope.cu}. */
final class CudaNorm {
  private static final String FILE = "rms_norm";

  /** VECTORS in the kernel file: accesses of a row that a thread keeps. */
  private static final int VECTORS = 4;

  /** HEADS in the kernel file: heads per thread. */
  private static final int HEADS = 4;

  private static final int LEAST_THREADS = 128;
  private static final int MOST_THREADS = 1024;
  private static final int MOST_BACKWARD_THREADS = 512;

  /** Blocks of {@link #LEAST_THREADS} per multiprocessor that the backward pass fits. */
  private static final int BACKWARD_BLOCKS = 4;

  private final CudaDevice device;

  CudaNorm(CudaDevice device) {
    this.device = device;
  }

  void rmsNorm(
      CudaTensor out, CudaTensor inverseRms, CudaTensor x, CudaTensor gain, float epsilon) {
    long rows = x.shape().rows();
    long width = x.shape().dim(1);
    int lanes = lanes(width, Geometry.access(width, x, out, gain), MOST_THREADS);
    int threads = Math.max(lanes, LEAST_THREADS);
    kernel("rmsNorm", x)
        .launch(
            Geometry.parts(rows, threads / lanes),
            1,
            1,
            threads,
            0,
            device
                .arguments()
                .add(out)
                .add(inverseRms)
                .add(x)
                .add(gain)
                .add(rows)
                .add(width)
                .add(epsilon)
                .add(lanes));
  }

  void rmsNormBackward(
      CudaTensor dX,
      CudaTensor dGain,
      CudaTensor dOut,
      CudaTensor x,
      CudaTensor gain,
      CudaTensor inverseRms) {
    long width = x.shape().dim(1);
    int access = Geometry.access(width, x, dX, dOut, gain);
    if (x.shape().elements() == 0) {
      return;
    }
    if (access > 1 && width <= (long) access * VECTORS * MOST_BACKWARD_THREADS) {
      inRegisters(dX, dGain, dOut, x, gain, inverseRms);
      return;
    }
    if (dGain != null) {
      // First, because dX may be dOut.
      gainGradient(dGain, dOut, x, inverseRms);
    }
    long rows = x.shape().rows();
    int lanes = lanes(width, 1, MOST_THREADS);
    int threads = Math.max(lanes, LEAST_THREADS);
    kernel("rmsNormBackwardX", x)
        .launch(
            Geometry.parts(rows, threads / lanes),
            1,
            1,
            threads,
            0,
            device
                .arguments()
                .add(dX)
                .add(dOut)
                .add(x)
                .add(gain)
                .add(inverseRms)
                .add(rows)
                .add(width)
                .add(lanes));
  }

  /** Each row is read once; a block adds up its rows' share of the gain's gradient. */
  private void inRegisters(
      CudaTensor dX,
      CudaTensor dGain,
      CudaTensor dOut,
      CudaTensor x,
      CudaTensor gain,
      CudaTensor inverseRms) {
    long rows = x.shape().rows();
    long width = x.shape().dim(1);
    int lanes = lanes(width, Geometry.packed(x.type()), MOST_BACKWARD_THREADS);
    int threads = Math.max(lanes, LEAST_THREADS);
    int perMultiprocessor = Math.max(1, BACKWARD_BLOCKS * LEAST_THREADS / threads);
    long blocks =
        Math.min(
            Geometry.parts(rows, threads / lanes),
            (long) perMultiprocessor * device.multiprocessors());
    CudaTensor partial = dGain == null ? null : CudaRows.partial(device, blocks * width);
    kernel("rmsNormBackward", x)
        .launch(
            blocks,
            1,
            1,
            threads,
            0,
            device
                .arguments()
                .add(dX)
                .add(partial)
                .add(dOut)
                .add(x)
                .add(gain)
                .add(inverseRms)
                .add(rows)
                .add(width)
                .add(lanes));
    if (dGain != null) {
      CudaRows.addPartials(device, dGain, partial, blocks, width, true);
    }
  }

  private void gainGradient(
      CudaTensor dGain, CudaTensor dOut, CudaTensor x, CudaTensor inverseRms) {
    long rows = x.shape().rows();
    long width = x.shape().dim(1);
    Geometry.Slabs cut =
        Geometry.Slabs.of(rows, width, 1, (long) BACKWARD_BLOCKS * device.multiprocessors());
    CudaTensor partial = CudaRows.partial(device, cut.parts() * width);
    kernel("gainSums", x)
        .launch(
            cut.parts(),
            cut.slabs(),
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(partial)
                .add(dOut)
                .add(x)
                .add(inverseRms)
                .add(rows)
                .add(width)
                .add(cut.lanes())
                .add(cut.rowsPerBlock()));
    CudaRows.addPartials(device, dGain, partial, cut.parts(), width, true);
  }

  void rope(
      CudaTensor x,
      int headDim,
      CudaTensor cos,
      CudaTensor sin,
      int firstPosition,
      int sequence,
      boolean inverse) {
    long rows = x.shape().rows();
    int heads = Math.toIntExact(x.shape().dim(1) / headDim);
    int half = headDim / 2;
    int packed = Geometry.packed(x.type());
    boolean wide = half % packed == 0 && Geometry.aligned(x, cos, sin);
    long threads =
        wide ? rows * (half / packed) * Geometry.parts(heads, HEADS) : rows * heads * half;
    DType type = x.type();
    device
        .kernels()
        .get("rope", wide ? "rope" : "ropeAny", type)
        .launch(
            Geometry.parts(threads, Geometry.THREADS),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(x)
                .add(cos)
                .add(sin)
                .add(rows)
                .add(heads)
                .add(half)
                .add(firstPosition)
                .add(sequence)
                .add(inverse ? -1f : 1f));
  }

  private static int lanes(long width, int access, int most) {
    return Geometry.lanes(Geometry.parts(width, (long) access * VECTORS), most);
  }

  private Kernel kernel(String function, CudaTensor x) {
    return device.kernels().get(FILE, function, x.type());
  }
}

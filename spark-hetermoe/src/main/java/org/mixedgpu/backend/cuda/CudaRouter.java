package org.mixedgpu.backend.cuda;

import org.mixedgpu.tensor.DType;

/** The router of a mixture of experts; {@code router.cu} and {@code sort.cu}. */
final class CudaRouter {
  private static final String FILE = "router";

  private static final int WARP = 32;
  private static final int ROWS_PER_BLOCK = Geometry.THREADS / WARP;

  /** Experts that a lane keeps in registers, at most. */
  private static final int MOST_CACHED = 16;

  private final CudaDevice device;
  private final CudaSort sort;

  CudaRouter(CudaDevice device) {
    this.device = device;
    this.sort = new CudaSort(device);
  }

  void routerTopK(
      CudaTensor probs,
      CudaTensor weights,
      CudaTensor experts,
      CudaTensor logits,
      boolean renormalise) {
    long rows = logits.shape().rows();
    long count = logits.shape().dim(1);
    int cached = Geometry.lanes(Geometry.parts(count, WARP), MOST_CACHED);
    device
        .kernels()
        .get(FILE, "routerTopK", DType.F32, "CACHED=" + cached)
        .launch(
            Geometry.parts(rows, ROWS_PER_BLOCK),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(probs)
                .add(weights)
                .add(experts)
                .add(logits)
                .add(rows)
                .add((int) count)
                .add((int) experts.shape().dim(1))
                .add(renormalise ? 1 : 0));
  }

  void sortByExpert(CudaTensor slotOf, CudaTensor rowOf, CudaTensor offsets, CudaTensor experts) {
    sort.byExpert(slotOf, rowOf, offsets, experts);
  }

  void routerBackward(
      CudaTensor dLogits,
      CudaTensor dWeights,
      CudaTensor probs,
      CudaTensor weights,
      CudaTensor experts,
      CudaTensor logits,
      boolean renormalise,
      CudaTensor auxByExpert,
      float zScale) {
    long rows = probs.shape().rows();
    device
        .kernels()
        .get(FILE, "routerBackward", DType.F32)
        .launch(
            Geometry.parts(rows, ROWS_PER_BLOCK),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(dLogits)
                .add(dWeights)
                .add(probs)
                .add(weights)
                .add(experts)
                .add(logits)
                .add(auxByExpert)
                .add(rows)
                .add((int) probs.shape().dim(1))
                .add((int) experts.shape().dim(1))
                .add(renormalise ? 1 : 0)
                .add(zScale)
                .add(device.faults().pointer()));
  }
}

package org.mixedgpu.backend.cuda;

import org.mixedgpu.backend.AdamWStep;
import org.mixedgpu.tensor.DType;

/** AdamW and the norm it is clipped by; {@code optimizer.cu}. */
final class CudaOptimizer {
  private static final String FILE = "optimizer";

  /** F32 elements of an access. */
  private static final int PACKED = 4;

  /** Blocks per multiprocessor that sum squares. */
  private static final int SUM_BLOCKS = 8;

  private final CudaDevice device;

  CudaOptimizer(CudaDevice device) {
    this.device = device;
  }

  void adamW(
      CudaTensor param,
      CudaTensor firstMoment,
      CudaTensor secondMoment,
      CudaTensor gradient,
      CudaTensor working,
      AdamWStep step) {
    long n = param.shape().elements();
    double correction1 = 1 - StrictMath.pow(step.beta1(), step.step());
    double correction2 = 1 - StrictMath.pow(step.beta2(), step.step());
    device
        .kernels()
        .get(FILE, "adamW", device.computeType())
        .launch(
            Geometry.parts(n, (long) Geometry.THREADS * PACKED),
            1,
            1,
            Geometry.THREADS,
            0,
            device
                .arguments()
                .add(param)
                .add(firstMoment)
                .add(secondMoment)
                .add(gradient)
                .add(working)
                .add(n)
                .add(step.beta1())
                .add(step.beta2())
                .add(1 - step.beta1())
                .add(1 - step.beta2())
                .add(step.gradScale())
                .add(step.epsilon())
                .add((float) (1 - (double) step.learningRate() * step.weightDecay()))
                .add((float) (step.learningRate() / correction1))
                .add((float) (1 / Math.sqrt(correction2))));
  }

  void sumSquares(CudaTensor out, CudaTensor x) {
    long n = x.shape().elements();
    long blocks =
        Math.min(
            (long) SUM_BLOCKS * device.multiprocessors(),
            Math.max(1, Geometry.parts(n, (long) Geometry.THREADS * Geometry.AHEAD * PACKED)));
    CudaTensor partial = device.scratch().bytes("partial squares", blocks * Double.BYTES);
    device
        .kernels()
        .get(FILE, "sumSquares", DType.F32)
        .launch(blocks, 1, 1, Geometry.THREADS, 0, device.arguments().add(partial).add(x).add(n));
    device
        .kernels()
        .get(FILE, "sumPartials", DType.F32)
        .launch(
            1,
            1,
            1,
            Geometry.THREADS,
            0,
            device.arguments().add(out).add(partial).add((int) blocks));
  }
}

package org.mixedgpu.backend.cuda;

/** Cross entropy with its gradient; {@code loss.cu}. */
final class CudaLoss {
  /** Shared memory that keeps a part of a row between its two passes. */
  private static final int KEEP_BYTES = 96 << 10;

  private static final int WARP = 32;
  private static final int MOST_THREADS = 1024;

  private final CudaDevice device;

  CudaLoss(CudaDevice device) {
    this.device = device;
  }

  void crossEntropy(
      CudaTensor rowLoss,
      CudaTensor dLogits,
      CudaTensor logits,
      CudaTensor targets,
      float gradScale) {
    long width = logits.shape().dim(1);
    int access = Geometry.access(width, logits, dLogits);
    long accesses = width / access;
    int bytes = access * logits.type().bytes();
    int threads =
        Math.max(WARP, Geometry.lanes(Geometry.parts(accesses, Geometry.AHEAD), MOST_THREADS));
    int room = Math.min(KEEP_BYTES, device.sharedBytesPerBlock() - Geometry.STATIC_BYTES) / bytes;
    int kept = dLogits == null ? 0 : (int) Math.min(accesses, room);
    device
        .kernels()
        .get("loss", "crossEntropy", logits.type())
        .launch(
            logits.shape().rows(),
            1,
            1,
            threads,
            kept * bytes,
            rowLoss,
            dLogits,
            logits,
            targets,
            width,
            gradScale,
            kept,
            device.faults().pointer());
  }
}

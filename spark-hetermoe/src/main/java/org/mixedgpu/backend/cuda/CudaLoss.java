package org.mixedgpu.backend.cuda;

import org.mixedgpu.device.ComputeCapability;

/** Cross entropy with its gradient; {@code loss.cu}. */
final class CudaLoss {
  private static final ComputeCapability CLUSTERS = new ComputeCapability(9, 0);

  /** Blocks that share a row, at most: what every GPU with clusters has. */
  private static final int MOST_CLUSTER = 8;

  /**
   * Shared memory of a block that keeps logits between the two passes: two such blocks fit on a
   * multiprocessor of a data centre's GPU, so that one reads while the other writes.
   */
  private static final int KEEP_BYTES = 104 << 10;

  private static final int WARP = 32;
  private static final int MOST_THREADS = 512;

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
    int bytes = access * logits.type().bytes();
    long accesses = width / access;
    long most = (long) device.sharedBytesPerBlock() - Geometry.STATIC_BYTES;
    long room = Math.min(KEEP_BYTES, most) / bytes;
    int cluster = 1;
    if (dLogits != null && access > 1 && device.capability().compareTo(CLUSTERS) >= 0) {
      // At least four fifths of a row are kept: reading a little again costs less than more blocks.
      cluster = Geometry.lanes(Geometry.parts(4 * accesses, 5 * room), MOST_CLUSTER);
    } else if (accesses > room) {
      // The rest of a row is read again: from the second-level cache, if few rows are under way.
      room = most / bytes;
    }
    long part = Geometry.parts(accesses, cluster);
    int kept = dLogits == null ? 0 : (int) Math.min(part, room);
    int threads =
        Math.max(WARP, Geometry.lanes(Geometry.parts(part, Geometry.AHEAD), MOST_THREADS));
    device
        .kernels()
        .get("loss", "crossEntropy", logits.type(), "CLUSTER=" + cluster)
        .launch(
            logits.shape().rows() * cluster,
            1,
            1,
            threads,
            kept * bytes,
            device
                .arguments()
                .add(rowLoss)
                .add(dLogits)
                .add(logits)
                .add(targets)
                .add(width)
                .add(gradScale)
                .add(kept)
                .add(device.faults().pointer()));
  }
}

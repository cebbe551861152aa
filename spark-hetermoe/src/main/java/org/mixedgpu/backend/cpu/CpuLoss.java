package org.mixedgpu.backend.cpu;

import java.util.Arrays;
import org.mixedgpu.backend.OpChecks;
import org.mixedgpu.tensor.HostTensor;
import org.mixedgpu.tensor.Shape;

/** Cross entropy with its gradient in one pass over the logits. */
final class CpuLoss {
  private final Workers workers;

  CpuLoss(Workers workers) {
    this.workers = workers;
  }

  void crossEntropy(
      HostTensor rowLoss,
      HostTensor dLogits,
      HostTensor logits,
      HostTensor targets,
      float gradScale) {
    CpuBackend.CHECKS.crossEntropy(rowLoss, dLogits, logits, targets);
    Shape shape = logits.shape();
    int width = CpuRows.width(shape);
    workers.rows(
        shape.rows(),
        width,
        CpuElementwise.GRAIN,
        (from, to) -> {
          float[] row = Scratch.ofThread().array(0, width);
          for (long r = from; r < to; r++) {
            rowLoss.f32(r, row(dLogits, logits, targets.int32(r), r, row, width, gradScale));
          }
        });
  }

  private static float row(
      HostTensor dLogits,
      HostTensor logits,
      int target,
      long r,
      float[] row,
      int width,
      float gradScale) {
    if (target < 0) {
      if (dLogits != null) {
        Arrays.fill(row, 0, width, 0f);
        dLogits.store(r * width, row, 0, width);
      }
      return 0;
    }
    OpChecks.index("crossEntropy", "targets", target, r, width);
    logits.load(r * width, row, 0, width);
    float chosen = row[target];
    float maximum = Softmax.max(row, 0, width);
    double sum = Softmax.expAndSum(row, 0, width, maximum);
    if (dLogits != null) {
      Softmax.scale(row, width, (float) (gradScale / sum));
      row[target] -= gradScale;
      dLogits.store(r * width, row, 0, width);
    }
    return (float) (StrictMath.log(sum) + maximum - chosen);
  }
}

package org.mixedgpu.backend.cuda;

import java.util.List;
import org.mixedgpu.backend.TrainingBackend;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Tensor;

/**
 * The weight gradient of grouped products in all the ways in which it can be cut on Hopper, of
 * which {@link GroupedTiles} chooses some. Owns a backend on one device.
 */
final class GradientVariants implements AutoCloseable {
  /** Tiles of both warpgroups, with more and more buffers for sums; then tiles of their own. */
  static final List<GroupedTiles> HOPPER =
      List.of(
          GroupedTiles.gradient(256, 4, false, 2),
          GroupedTiles.gradient(256, 3, false, 4),
          GroupedTiles.gradient(256, 2, false, 8),
          GroupedTiles.gradient(192, 4, true, 4),
          GroupedTiles.gradient(128, 5, true, 4),
          GroupedTiles.gradient(128, 3, true, 8));

  private final CudaDevice device;
  private final CudaBackend backend;
  private final CudaGroupedMatmul grouped;

  /**
   * @param device closed with this
   */
  GradientVariants(CudaDevice device) {
    this.device = device;
    this.backend = new CudaBackend(device);
    this.grouped = new CudaGroupedMatmul(device);
  }

  TrainingBackend backend() {
    return backend;
  }

  boolean onHopper() {
    return device.arch() == 90;
  }

  /** What an op of these sizes gets. */
  GroupedTiles chosen(boolean aligned, long rows, int experts, int n, int k) {
    return GroupedTiles.choose(
        device.arch(),
        device.sharedBytesPerBlock(),
        DType.BF16,
        aligned,
        GroupedTiles.Product.TN,
        rows,
        experts,
        n,
        k);
  }

  void run(
      GroupedTiles tiles, Tensor dW, Tensor dOut, Tensor in, Tensor offsets, boolean accumulate) {
    grouped.weightGradient(
        tiles,
        (CudaTensor) dW,
        (CudaTensor) dOut,
        (CudaTensor) in,
        (CudaTensor) offsets,
        accumulate);
  }

  @Override
  public void close() {
    backend.close();
  }
}

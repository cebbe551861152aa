package org.mixedgpu.backend.cuda;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.base.Check;
import org.mixedgpu.tensor.DType;
import org.mixedgpu.tensor.Shape;

/**
 * Products per expert over uneven groups of rows. Their offsets stay on the device, where each
 * block finds its tiles; a bad offset is a fault of the device. Operands have been checked.
 */
final class CudaGroupedMatmul {
  /** Above this the maps of tensors that are gone are the most; all are made again. */
  private static final int MOST_MAPS = 8192;

  private record MapKey(DType type, long pointer, long depth, long rows, long cols) {}

  private final CudaDevice device;
  private final Map<MapKey, byte[]> maps = new ConcurrentHashMap<>();

  CudaGroupedMatmul(CudaDevice device) {
    this.device = device;
  }

  /** See {@link org.mixedgpu.backend.Backend#groupedMatmul}. */
  void groupedMatmul(
      CudaTensor out, CudaTensor in, CudaTensor w, CudaTensor offsets, Transpose transpose) {
    boolean forward = transpose == Transpose.NT;
    GroupedTiles.Product product = forward ? GroupedTiles.Product.NT : GroupedTiles.Product.NN;
    int n = Math.toIntExact(w.shape().dim(1));
    int k = Math.toIntExact(w.shape().dim(2));
    GroupedTiles tiles = choose(product, out, in, w, offsets, n, k);
    int rows = rows(in);
    Kernel kernel = kernel(tiles, product);
    LaunchArguments arguments = device.arguments().add(out);
    add(arguments, tiles, in, w);
    kernel.launch(
        blocks(tiles, product, rows, experts(offsets), n, k),
        1,
        1,
        tiles.threads(),
        tiles.sharedBytes(),
        arguments
            .add(offsets)
            .add(rows)
            .add(experts(offsets))
            .add(n)
            .add(k)
            .add(device.faults().pointer()));
  }

  /** See {@link org.mixedgpu.backend.TrainingBackend#groupedMatmulWeightGradient}. */
  void groupedMatmulWeightGradient(
      CudaTensor dW, CudaTensor dOut, CudaTensor in, CudaTensor offsets, boolean accumulate) {
    int n = Math.toIntExact(dW.shape().dim(1));
    int k = Math.toIntExact(dW.shape().dim(2));
    weightGradient(
        choose(GroupedTiles.Product.TN, dW, dOut, in, offsets, n, k),
        dW,
        dOut,
        in,
        offsets,
        accumulate);
  }

  /** The same with tiles that the caller has chosen. */
  void weightGradient(
      GroupedTiles tiles,
      CudaTensor dW,
      CudaTensor dOut,
      CudaTensor in,
      CudaTensor offsets,
      boolean accumulate) {
    GroupedTiles.Product product = GroupedTiles.Product.TN;
    int n = Math.toIntExact(dW.shape().dim(1));
    int k = Math.toIntExact(dW.shape().dim(2));
    int rows = rows(in);
    Kernel kernel = kernel(tiles, product);
    LaunchArguments arguments = device.arguments();
    add(arguments, tiles, dW, dOut, in);
    kernel.launch(
        blocks(tiles, product, rows, experts(offsets), n, k),
        1,
        1,
        tiles.threads(),
        tiles.sharedBytes(),
        arguments
            .add(offsets)
            .add(rows)
            .add(experts(offsets))
            .add(n)
            .add(k)
            .add(accumulate ? 1 : 0)
            .add(device.faults().pointer()));
  }

  /** Tensors as these tiles take them: maps for the copy engine, or addresses. */
  private void add(LaunchArguments to, GroupedTiles tiles, CudaTensor... tensors) {
    for (CudaTensor tensor : tensors) {
      if (tiles.copied()) {
        to.add(map(tensor));
      } else {
        to.add(tensor);
      }
    }
  }

  private GroupedTiles choose(
      GroupedTiles.Product product,
      CudaTensor out,
      CudaTensor left,
      CudaTensor right,
      CudaTensor offsets,
      int n,
      int k) {
    DType type = device.computeType();
    return GroupedTiles.choose(
        device.arch(),
        device.sharedBytesPerBlock(),
        type,
        GroupedTiles.aligned(type, n, k, out.pointer(), left.pointer(), right.pointer()),
        product,
        rows(left),
        experts(offsets),
        n,
        k);
  }

  private Kernel kernel(GroupedTiles tiles, GroupedTiles.Product product) {
    return device
        .kernels()
        .get(tiles.file(), product.function(), device.computeType(), tiles.defines());
  }

  private static int rows(CudaTensor rowsOfGroups) {
    return Math.toIntExact(rowsOfGroups.shape().rows());
  }

  private static int experts(CudaTensor offsets) {
    return Math.toIntExact(offsets.shape().rows() - 1);
  }

  /** As many as run at once, or fewer where there can't be as many tiles. */
  private long blocks(
      GroupedTiles tiles, GroupedTiles.Product product, int rows, int experts, int n, int k) {
    long down =
        product == GroupedTiles.Product.TN
            ? (long) experts * parts(n, tiles.rows())
            : parts(rows, tiles.rows()) + experts;
    long across = parts(product == GroupedTiles.Product.NT ? n : k, tiles.cols());
    Check.that(
        (down + experts) * (across + 1) <= Integer.MAX_VALUE,
        "groupedMatmul counts its tiles in 31 bits; %d rows, %d experts of %d x %d are too many",
        rows,
        experts,
        n,
        k);
    return Math.min(
        (long) device.ownMultiprocessors() * tiles.blocksPerMultiprocessor(), down * across);
  }

  private static long parts(long whole, int part) {
    return (whole + part - 1) / part;
  }

  /** Boxes of 64 rows by 128 bytes. */
  private byte[] map(CudaTensor tensor) {
    Shape shape = tensor.shape();
    DType type = tensor.type();
    int last = shape.rank() - 1;
    MapKey key =
        new MapKey(
            type,
            tensor.pointer(),
            last == 2 ? shape.dim(0) : 1,
            shape.dim(last - 1),
            shape.dim(last));
    if (maps.size() > MOST_MAPS) {
      maps.clear();
    }
    return maps.computeIfAbsent(
        key,
        at ->
            TensorMaps.dense(
                device,
                type,
                at.pointer,
                new long[] {at.depth, at.rows, at.cols},
                new int[] {1, 64, 128 / type.bytes()},
                TensorMaps.Swizzle.BYTES_128));
  }
}

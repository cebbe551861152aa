package org.mixedgpu.backend.cuda;

import org.mixedgpu.tensor.DType;

/** Element-wise ops; {@code elementwise.cu}. */
final class CudaElementwise {
  private static final String FILE = "elementwise";

  /** Elements of an access where a copy converts. */
  private static final int CONVERTED = 4;

  private final CudaDevice device;

  CudaElementwise(CudaDevice device) {
    this.device = device;
  }

  void fill(CudaTensor out, float value) {
    launch("fill", out, device.arguments().add(out).add(value));
  }

  void copy(CudaTensor out, CudaTensor in) {
    LaunchArguments arguments = device.arguments().add(out).add(in);
    if (out.type() == in.type()) {
      String function = in.type().bytes() == 4 ? "copyWords" : "copyHalves";
      launch(function, DType.F32, Geometry.packed(in.type()), elements(out), arguments);
      return;
    }
    String function =
        switch (out.type()) {
          case F32 -> "copyToF32";
          case BF16 -> "copyToBf16";
          default -> "copyToF16";
        };
    launch(function, in.type(), CONVERTED, elements(out), arguments);
  }

  void add(CudaTensor out, CudaTensor a, CudaTensor b) {
    launch("add", out, device.arguments().add(out).add(a).add(b));
  }

  void scale(CudaTensor x, float factor) {
    launch("scale", x, device.arguments().add(x).add(factor));
  }

  void swiglu(CudaTensor out, CudaTensor gate, CudaTensor up) {
    launch("swiglu", out, device.arguments().add(out).add(gate).add(up));
  }

  void swigluBackward(
      CudaTensor dGate,
      CudaTensor dUp,
      CudaTensor product,
      CudaTensor dOut,
      CudaTensor gate,
      CudaTensor up) {
    launch(
        "swigluBackward",
        dOut,
        device.arguments().add(dGate).add(dUp).add(product).add(dOut).add(gate).add(up));
  }

  private static long elements(CudaTensor x) {
    return x.shape().elements();
  }

  /** On all elements of tensors that are like this one. */
  private void launch(String function, CudaTensor like, LaunchArguments arguments) {
    launch(function, like.type(), Geometry.packed(like.type()), elements(like), arguments);
  }

  /**
   * @param type what T is
   * @param packed elements per access
   * @param arguments but for the number of elements, which is the last
   */
  private void launch(
      String function, DType type, int packed, long elements, LaunchArguments arguments) {
    long perBlock = (long) Geometry.THREADS * packed;
    device
        .kernels()
        .get(FILE, function, type)
        .launch(
            Geometry.parts(elements, perBlock), 1, 1, Geometry.THREADS, 0, arguments.add(elements));
  }
}

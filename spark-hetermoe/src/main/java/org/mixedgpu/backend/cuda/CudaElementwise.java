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
    launch("fill", out, out, value, elements(out));
  }

  void copy(CudaTensor out, CudaTensor in) {
    if (out.type() == in.type()) {
      String function = in.type().bytes() == 4 ? "copyWords" : "copyHalves";
      int packed = Geometry.packed(in.type());
      launch(function, DType.F32, packed, elements(out), out, in, elements(out));
      return;
    }
    String function =
        switch (out.type()) {
          case F32 -> "copyToF32";
          case BF16 -> "copyToBf16";
          default -> "copyToF16";
        };
    launch(function, in.type(), CONVERTED, elements(out), out, in, elements(out));
  }

  void add(CudaTensor out, CudaTensor a, CudaTensor b) {
    launch("add", out, out, a, b, elements(out));
  }

  void scale(CudaTensor x, float factor) {
    launch("scale", x, x, factor, elements(x));
  }

  void swiglu(CudaTensor out, CudaTensor gate, CudaTensor up) {
    launch("swiglu", out, out, gate, up, elements(out));
  }

  void swigluBackward(
      CudaTensor dGate, CudaTensor dUp, CudaTensor dOut, CudaTensor gate, CudaTensor up) {
    launch("swigluBackward", dOut, dGate, dUp, dOut, gate, up, elements(dOut));
  }

  private static Long elements(CudaTensor x) {
    return x.shape().elements();
  }

  /** On all elements of tensors that are like this one. */
  private void launch(String function, CudaTensor like, Object... arguments) {
    int packed = Geometry.packed(like.type());
    launch(function, like.type(), packed, elements(like), arguments);
  }

  /**
   * @param type what T is
   * @param packed elements per access
   */
  private void launch(String function, DType type, int packed, long elements, Object... arguments) {
    long perBlock = (long) Geometry.THREADS * packed;
    device
        .kernels()
        .get(FILE, function, type)
        .launch(Geometry.parts(elements, perBlock), 1, 1, Geometry.THREADS, 0, arguments);
  }
}

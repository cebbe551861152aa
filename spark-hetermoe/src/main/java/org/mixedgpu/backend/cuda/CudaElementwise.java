package org.mixedgpu.backend.cuda;

import org.mixedgpu.tensor.DType;

/** Element-wise ops; {@code elementwise.cu}. */
final class CudaElementwise {
  private static final String FILE = "elementwise";

  /** UNROLL in the kernel file: accesses per thread. */
  private static final int ACCESSES = 2;

  private final CudaDevice device;

  CudaElementwise(CudaDevice device) {
    this.device = device;
  }

  void fill(CudaTensor out, float value) {
    launch("fill", out.type(), out.type(), out, out, value, elements(out));
  }

  void copy(CudaTensor out, CudaTensor in) {
    String function;
    DType type = DType.F32;
    if (out.type() == in.type()) {
      function = in.type().bytes() == 4 ? "copyWords" : "copyHalves";
    } else {
      type = in.type();
      function =
          switch (out.type()) {
            case F32 -> "copyToF32";
            case BF16 -> "copyToBf16";
            default -> "copyToF16";
          };
    }
    DType wider = out.type().bytes() > in.type().bytes() ? out.type() : in.type();
    launch(function, type, wider, out, out, in, elements(out));
  }

  void add(CudaTensor out, CudaTensor a, CudaTensor b) {
    launch("add", out.type(), out.type(), out, out, a, b, elements(out));
  }

  void scale(CudaTensor x, float factor) {
    launch("scale", x.type(), x.type(), x, x, factor, elements(x));
  }

  void swiglu(CudaTensor out, CudaTensor gate, CudaTensor up) {
    launch("swiglu", out.type(), out.type(), out, out, gate, up, elements(out));
  }

  void swigluBackward(
      CudaTensor dGate, CudaTensor dUp, CudaTensor dOut, CudaTensor gate, CudaTensor up) {
    DType type = dOut.type();
    launch("swigluBackward", type, type, dOut, dGate, dUp, dOut, gate, up, elements(dOut));
  }

  private static Long elements(CudaTensor x) {
    return x.shape().elements();
  }

  /**
   * @param type what T is
   * @param widest the type that decides how many elements a block has
   * @param counted whose elements there are
   */
  private void launch(
      String function, DType type, DType widest, CudaTensor counted, Object... arguments) {
    long perBlock = (long) Geometry.THREADS * ACCESSES * Geometry.packed(widest);
    device
        .kernels()
        .get(FILE, function, type)
        .launch(
            Geometry.parts(counted.shape().elements(), perBlock),
            1,
            1,
            Geometry.THREADS,
            0,
            arguments);
  }
}

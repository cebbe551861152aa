package org.mixedgpu.backend.cuda;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import java.util.LinkedHashMap;
import java.util.Map;
import org.mixedgpu.backend.Transpose;
import org.mixedgpu.tensor.DType;

/**
 * Dense products by cuBLASLt: sums in F32 (without TF32), parts of a sum added in a fixed order. A
 * product of F32 operands into a 16-bit output, which cuBLASLt does not have, is made in F32 and
 * rounded once. Where beta is not 0 and the output has 16 bits, cuBLASLt's kernels for Hopper round
 * the product before they add the output to it, as they do under PyTorch; those that do not are
 * many times slower.
 */
final class CudaMatrix {
  /** What NVIDIA advises for Hopper; fewer algorithms fit into less. */
  private static final long WORKSPACE_BYTES = 32L << 20;

  private static final int MOST_ALIGNMENT = 16;

  /** Some KiB of host memory each; prompts of many lengths have many shapes. */
  private static final int MOST_PLANS = 2048;

  private final CudaDevice device;
  private final CudaElementwise elementwise;
  private final long handle;

  /**
   * The latest used. Its monitor is held while a plan is used, so that none is closed meanwhile.
   */
  private final Map<MatrixPlan.Key, MatrixPlan> plans = new LinkedHashMap<>(16, 0.75f, true);

  /** One, zero: factors, as cuBLASLt reads them. */
  private final Memory factors = new Memory(2 * Float.BYTES);

  CudaMatrix(CudaDevice device, CudaElementwise elementwise) {
    this.device = device;
    this.elementwise = elementwise;
    try (Memory cell = new Memory(Long.BYTES)) {
      CublasLt.check(
          CublasLt.cublasLtCreate(Pointer.nativeValue(cell)), "cublasLtCreate", device.toString());
      handle = cell.getLong(0);
    }
    factors.setFloat(0, 1f);
    factors.setFloat(Float.BYTES, 0f);
  }

  void matmul(CudaTensor out, CudaTensor a, CudaTensor b, Transpose transpose, float beta) {
    long m = out.shape().dim(0);
    long n = out.shape().dim(1);
    long k = a.shape().dim(transpose == Transpose.TN ? 0 : 1);
    if (m == 0 || n == 0) {
      return;
    }
    if (k == 0) {
      empty(out, beta);
      return;
    }
    if (a.type() == DType.F32 && out.type() != DType.F32) {
      CudaTensor wide = device.scratch().bytes("matmul out", m * n * Float.BYTES);
      CudaTensor exact = wide.rows(0, m * n).view(out.shape());
      if (beta != 0) {
        elementwise.copy(exact, out);
      }
      product(exact, a, b, transpose, beta, m, n, k);
      elementwise.copy(out, exact);
      return;
    }
    product(out, a, b, transpose, beta, m, n, k);
  }

  /** No terms: beta · out. */
  private void empty(CudaTensor out, float beta) {
    if (beta == 0) {
      elementwise.fill(out, 0f);
    } else if (beta != 1) {
      elementwise.scale(out, beta);
    }
  }

  private void product(
      CudaTensor out,
      CudaTensor a,
      CudaTensor b,
      Transpose transpose,
      float beta,
      long m,
      long n,
      long k) {
    MatrixPlan.Key key =
        new MatrixPlan.Key(
            m,
            n,
            k,
            transpose == Transpose.TN,
            transpose == Transpose.NT,
            a.type(),
            out.type(),
            alignment(a.pointer()),
            alignment(b.pointer()),
            alignment(out.pointer()),
            multiprocessors());
    CudaStream stream = device.current();
    CudaTensor workspace = stream.scratch().bytes("cublasLt", WORKSPACE_BYTES);
    long one = Pointer.nativeValue(factors);
    long zero = one + Float.BYTES;
    synchronized (plans) {
      plan(key)
          .run(
              handle,
              out.pointer(),
              a.pointer(),
              b.pointer(),
              one,
              beta == 1 ? one : beta == 0 ? zero : stream.arguments().single(beta),
              workspace.pointer(),
              WORKSPACE_BYTES,
              stream.address());
      device.launches().increment();
    }
  }

  private MatrixPlan plan(MatrixPlan.Key key) {
    MatrixPlan plan = plans.get(key);
    if (plan == null) {
      if (plans.size() >= MOST_PLANS) {
        plans.remove(plans.keySet().iterator().next()).close();
      }
      plan = new MatrixPlan(device, handle, key, WORKSPACE_BYTES);
      plans.put(key, plan);
    }
    return plan;
  }

  /** What is left to others is not for cuBLASLt. */
  private int multiprocessors() {
    int own = device.ownMultiprocessors();
    return own == device.multiprocessors() ? MatrixPlan.ALL : own;
  }

  private static int alignment(long address) {
    return (int) Math.min(MOST_ALIGNMENT, Long.lowestOneBit(address));
  }

  void close() {
    plans.values().forEach(MatrixPlan::close);
    plans.clear();
    CublasLt.check(CublasLt.cublasLtDestroy(handle), "cublasLtDestroy", device.toString());
    factors.close();
  }
}

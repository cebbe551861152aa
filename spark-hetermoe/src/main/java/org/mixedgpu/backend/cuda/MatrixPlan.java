package org.mixedgpu.backend.cuda;

import com.sun.jna.Memory;
import com.sun.jna.Pointer;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.tensor.DType;

/**
 * How cuBLASLt computes the products of one shape: descriptors, and the algorithm that its
 * heuristics choose. The choice follows from the shape, types, alignment, device and the
 * multiprocessors to use alone, so that the same product has the same bits while as many are {@link
 * CudaDevice#leave left} to others.
 *
 * <p>cuBLASLt's matrices are column-major. A row-major [R,C] is a column-major [C,R] with the same
 * bytes, so out = a · b is computed as outᵀ = bᵀ · aᵀ: what cuBLASLt calls A is our b.
 */
final class MatrixPlan {
  /** As many multiprocessors as the device has. */
  static final int ALL = 0;

  /**
   * What a plan is for.
   *
   * @param m rows of out
   * @param n columns of out
   * @param k terms of each sum
   * @param transposeA whether a is stored as [K,M]
   * @param transposeB whether b is stored as [N,K]
   * @param alignA power of two that a's address is a multiple of, at most 16; so for the others
   * @param multiprocessors that it should use, or {@link #ALL}
   */
  record Key(
      long m,
      long n,
      long k,
      boolean transposeA,
      boolean transposeB,
      DType type,
      DType outType,
      int alignA,
      int alignB,
      int alignOut,
      int multiprocessors) {}

  private final CudaDevice device;
  private final Key key;

  /** What is made is not 0. */
  private long descriptor;

  private long layoutA;
  private long layoutB;
  private long layoutOut;

  /**
   * A cublasLtMatmulHeuristicResult_t, which starts with the algorithm; the plan keeps it alive.
   */
  private final Memory algorithm = new Memory(CublasLt.HEURISTIC_BYTES);

  MatrixPlan(CudaDevice device, long handle, Key key, long workspaceBytes) {
    this.device = device;
    this.key = key;
    try (Memory cell = new Memory(Long.BYTES)) {
      long at = Pointer.nativeValue(cell);
      check(
          CublasLt.cublasLtMatmulDescCreate(at, CublasLt.COMPUTE_32F, CublasLt.CUDA_R_32F),
          "cublasLtMatmulDescCreate");
      descriptor = cell.getLong(0);
      attribute(cell, CublasLt.DESC_TRANSA, key.transposeB ? CublasLt.OP_T : CublasLt.OP_N);
      attribute(cell, CublasLt.DESC_TRANSB, key.transposeA ? CublasLt.OP_T : CublasLt.OP_N);
      attribute(cell, CublasLt.DESC_SM_COUNT_TARGET, key.multiprocessors);
      layoutA =
          layout(cell, key.type, key.transposeA ? key.k : key.m, key.transposeA ? key.m : key.k);
      layoutB =
          layout(cell, key.type, key.transposeB ? key.n : key.k, key.transposeB ? key.k : key.n);
      layoutOut = layout(cell, key.outType, key.m, key.n);
      choose(handle, cell, workspaceBytes);
    } catch (RuntimeException e) {
      throw CudaDevice.closing(e, this::close);
    }
  }

  private void attribute(Memory cell, int attribute, int value) {
    cell.setInt(0, value);
    check(
        CublasLt.cublasLtMatmulDescSetAttribute(
            descriptor, attribute, Pointer.nativeValue(cell), Integer.BYTES),
        "cublasLtMatmulDescSetAttribute");
  }

  /** Of a dense row-major matrix. */
  private long layout(Memory cell, DType type, long rows, long columns) {
    check(
        CublasLt.cublasLtMatrixLayoutCreate(
            Pointer.nativeValue(cell), type(type), columns, rows, columns),
        "cublasLtMatrixLayoutCreate");
    return cell.getLong(0);
  }

  private void choose(long handle, Memory cell, long workspaceBytes) {
    long at = Pointer.nativeValue(cell);
    check(CublasLt.cublasLtMatmulPreferenceCreate(at), "cublasLtMatmulPreferenceCreate");
    long preference = cell.getLong(0);
    try {
      choose(handle, preference, cell, workspaceBytes);
    } finally {
      check(
          CublasLt.cublasLtMatmulPreferenceDestroy(preference), "cublasLtMatmulPreferenceDestroy");
    }
  }

  private void choose(long handle, long preference, Memory cell, long workspaceBytes) {
    prefer(preference, cell, CublasLt.PREF_MAX_WORKSPACE_BYTES, workspaceBytes, Long.BYTES);
    prefer(
        preference,
        cell,
        CublasLt.PREF_REDUCTION_SCHEME_MASK,
        CublasLt.REDUCTION_COMPUTE_TYPE,
        Integer.BYTES);
    prefer(preference, cell, CublasLt.PREF_MIN_ALIGNMENT_A_BYTES, key.alignB, Integer.BYTES);
    prefer(preference, cell, CublasLt.PREF_MIN_ALIGNMENT_B_BYTES, key.alignA, Integer.BYTES);
    prefer(preference, cell, CublasLt.PREF_MIN_ALIGNMENT_C_BYTES, key.alignOut, Integer.BYTES);
    prefer(preference, cell, CublasLt.PREF_MIN_ALIGNMENT_D_BYTES, key.alignOut, Integer.BYTES);
    cell.setLong(0, 0);
    int status =
        CublasLt.cublasLtMatmulAlgoGetHeuristic(
            handle,
            descriptor,
            layoutB,
            layoutA,
            layoutOut,
            layoutOut,
            preference,
            1,
            Pointer.nativeValue(algorithm),
            Pointer.nativeValue(cell));
    int found = cell.getInt(0);
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0) {
      throw new MixedGpuException(
          Fault.BUG,
          String.format(
              "%s has no algorithm for %s on %s; where the library is older than the GPU, install a"
                  + " newer CUDA toolkit that the driver supports, or name the folder of one in %s"
                  + " or -D%s; otherwise please report it",
              CublasLt.library(), key, device, CudaLibraries.VARIABLE, CudaLibraries.PROPERTY));
    }
    check(algorithm.getInt(CublasLt.HEURISTIC_STATUS), "cublasLtMatmulAlgoGetHeuristic");
  }

  private void prefer(long preference, Memory cell, int attribute, long value, int bytes) {
    // Little-endian: the low half of the number comes first.
    cell.setLong(0, value);
    check(
        CublasLt.cublasLtMatmulPreferenceSetAttribute(
            preference, attribute, Pointer.nativeValue(cell), bytes),
        "cublasLtMatmulPreferenceSetAttribute");
  }

  private static int type(DType type) {
    switch (type) {
      case F32:
        return CublasLt.CUDA_R_32F;
      case F16:
        return CublasLt.CUDA_R_16F;
      case BF16:
        return CublasLt.CUDA_R_16BF;
      default:
        throw new MixedGpuException(Fault.BUG, "A matrix product of " + type);
    }
  }

  /**
   * Queues the product.
   *
   * @param alpha address of an F32 on the host
   * @param beta address of an F32 on the host
   */
  void run(
      long handle,
      long out,
      long a,
      long b,
      long alpha,
      long beta,
      long workspace,
      long workspaceBytes,
      long stream) {
    check(
        CublasLt.cublasLtMatmul(
            handle,
            descriptor,
            alpha,
            b,
            layoutB,
            a,
            layoutA,
            beta,
            out,
            layoutOut,
            out,
            layoutOut,
            Pointer.nativeValue(algorithm),
            workspace,
            workspaceBytes,
            stream),
        "cublasLtMatmul");
  }

  void close() {
    for (long layout : new long[] {layoutA, layoutB, layoutOut}) {
      if (layout != 0) {
        check(CublasLt.cublasLtMatrixLayoutDestroy(layout), "cublasLtMatrixLayoutDestroy");
      }
    }
    if (descriptor != 0) {
      check(CublasLt.cublasLtMatmulDescDestroy(descriptor), "cublasLtMatmulDescDestroy");
    }
    algorithm.close();
  }

  private void check(int status, String call) {
    if (status != 0) {
      CublasLt.check(status, call, device + ", " + key);
    }
  }
}

package org.mixedgpu.backend.cuda;

import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * The calls of cuBLASLt in use, of CUDA 12 or 13, by JNA's direct mapping: handles and addresses
 * are numbers, and each returns 0 for success. Constants are those of {@code cublasLt.h}.
 */
final class CublasLt {
  static final int CUDA_R_32F = 0;
  static final int CUDA_R_16F = 2;
  static final int CUDA_R_16BF = 14;

  /** F32 products and sums, without TF32; for 16-bit inputs exact products and F32 sums. */
  static final int COMPUTE_32F = 68;

  static final int DESC_TRANSA = 3;
  static final int DESC_TRANSB = 4;
  static final int DESC_SM_COUNT_TARGET = 15;
  static final int OP_N = 0;
  static final int OP_T = 1;

  static final int PREF_MAX_WORKSPACE_BYTES = 1;
  static final int PREF_REDUCTION_SCHEME_MASK = 3;
  static final int PREF_MIN_ALIGNMENT_A_BYTES = 5;
  static final int PREF_MIN_ALIGNMENT_B_BYTES = 6;
  static final int PREF_MIN_ALIGNMENT_C_BYTES = 7;
  static final int PREF_MIN_ALIGNMENT_D_BYTES = 8;

  /** Parts of a sum go to the workspace in F32 and are added in order. */
  static final int REDUCTION_COMPUTE_TYPE = 2;

  /** Bytes of a cublasLtMatmulHeuristicResult_t: the algorithm's 64, then workspace and state. */
  static final int HEURISTIC_BYTES = 96;

  static final int HEURISTIC_STATUS = 72;

  private static String file;

  private CublasLt() {}

  /** Binds the calls to a library; once per process, since the first one stays. */
  static synchronized void bind(NativeLibrary library) {
    if (file == null) {
      Native.register(CublasLt.class, library);
      file = library.getFile().toString();
    }
  }

  /** Version, such as 120900, and file, for messages. */
  static String library() {
    return "cuBLASLt " + cublasLtGetVersion() + " of " + file;
  }

  static void check(int status, String call, String context) {
    if (status != 0) {
      throw new MixedGpuException(
          status == 3 ? Fault.EXHAUSTED : Fault.BUG,
          String.format("%s failed with status %d (%s): %s", call, status, text(status), context));
    }
  }

  /** The words of {@code cublasStatus_t}. */
  static String text(int status) {
    switch (status) {
      case 1:
        return "not initialized";
      case 3:
        return "allocation failed";
      case 7:
        return "unusable value";
      case 8:
        return "architecture mismatch";
      case 11:
        return "mapping error";
      case 13:
        return "execution failed";
      case 14:
        return "internal error";
      case 15:
        return "not supported";
      default:
        return "see cublasStatus_t";
    }
  }

  static native long cublasLtGetVersion();

  static native int cublasLtCreate(long handle);

  static native int cublasLtDestroy(long handle);

  static native int cublasLtMatmulDescCreate(long descriptor, int computeType, int scaleType);

  static native int cublasLtMatmulDescSetAttribute(
      long descriptor, int attribute, long value, long bytes);

  static native int cublasLtMatrixLayoutCreate(
      long layout, int type, long rows, long columns, long leadingDimension);

  static native int cublasLtMatmulPreferenceCreate(long preference);

  static native int cublasLtMatmulPreferenceDestroy(long preference);

  static native int cublasLtMatmulPreferenceSetAttribute(
      long preference, int attribute, long value, long bytes);

  static native int cublasLtMatmulAlgoGetHeuristic(
      long handle,
      long descriptor,
      long a,
      long b,
      long c,
      long d,
      long preference,
      int requested,
      long results,
      long found);

  static native int cublasLtMatmul(
      long handle,
      long descriptor,
      long alpha,
      long a,
      long layoutA,
      long b,
      long layoutB,
      long beta,
      long c,
      long layoutC,
      long d,
      long layoutD,
      long algorithm,
      long workspace,
      long workspaceBytes,
      long stream);

  static native int cublasLtMatmulDescDestroy(long descriptor);

  static native int cublasLtMatrixLayoutDestroy(long layout);
}

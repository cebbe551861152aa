package org.mixedgpu.backend.cpu;

import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;

/**
 * The few functions of OpenBLAS that are used, by JNA's direct mapping and with raw addresses. It
 * runs one thread per call: products are split by this package, so that bits do not depend on the
 * number of threads, and so that several backends of one process do not share a thread count.
 */
final class OpenBlas {
  static final int ROW_MAJOR = 101;
  static final int NO_TRANSPOSE = 111;
  static final int TRANSPOSE = 112;

  private static final NativeLibrary LIBRARY = NativeFiles.openBlas();

  static {
    Native.register(OpenBlas.class, LIBRARY);
    openblas_set_num_threads(1);
  }

  private OpenBlas() {}

  /** Version and kernel, such as {@code OpenBLAS 0.3.31 Zen}. */
  static String version() {
    String[] words = openblas_get_config().trim().split(" +");
    String version = words.length > 1 ? words[0] + " " + words[1] : words[0];
    return version + " " + openblas_get_corename();
  }

  /** c[m,n] = alpha · a · b + beta · c, row-major, leading dimensions in elements. */
  static void sgemm(
      boolean transposeA,
      boolean transposeB,
      int m,
      int n,
      int k,
      float alpha,
      long a,
      int lda,
      long b,
      int ldb,
      float beta,
      long c,
      int ldc) {
    cblas_sgemm(
        ROW_MAJOR,
        transposeA ? TRANSPOSE : NO_TRANSPOSE,
        transposeB ? TRANSPOSE : NO_TRANSPOSE,
        m,
        n,
        k,
        alpha,
        a,
        lda,
        b,
        ldb,
        beta,
        c,
        ldc);
  }

  private static native void cblas_sgemm(
      int order,
      int transposeA,
      int transposeB,
      int m,
      int n,
      int k,
      float alpha,
      long a,
      int lda,
      long b,
      int ldb,
      float beta,
      long c,
      int ldc);

  private static native void openblas_set_num_threads(int threads);

  private static native String openblas_get_config();

  private static native String openblas_get_corename();
}

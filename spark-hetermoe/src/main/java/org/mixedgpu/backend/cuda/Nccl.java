package org.mixedgpu.backend.cuda;

import com.sun.jna.Library;
import com.sun.jna.Memory;
import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import com.sun.jna.Structure;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.PointerByReference;
import java.util.List;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * NVIDIA's library for messages between GPUs: opened once per process, and what is called of it.
 */
final class Nccl {
  static final int SUCCESS = 0;
  static final int IN_PROGRESS = 7;
  static final int BYTES = 0;
  static final int FLOAT32 = 7;
  static final int SUM = 0;

  static final int ID_BYTES = 128;

  /** The first with non-blocking communicators as they are used here: 2.18. */
  private static final int OLDEST = 21_800;

  private static final String FILE = "libnccl.so.2";

  private static Nccl opened;

  private final Calls calls;
  private final int version;

  /** Names are NCCL's own. */
  interface Calls extends Library {
    /** ncclUniqueId. */
    @Structure.FieldOrder("internal")
    class UniqueId extends Structure implements Structure.ByValue {
      public byte[] internal = new byte[ID_BYTES];
    }

    int ncclGetVersion(IntByReference version);

    int ncclGetUniqueId(byte[] id);

    /** The communicator's handle is there when this returns; all else goes on by itself. */
    int ncclCommInitRankConfig(
        PointerByReference communicator, int ranks, UniqueId id, int rank, Pointer config);

    int ncclCommGetAsyncError(Pointer communicator, IntByReference error);

    int ncclCommFinalize(Pointer communicator);

    int ncclCommDestroy(Pointer communicator);

    int ncclCommAbort(Pointer communicator);

    int ncclGroupStart();

    int ncclGroupEnd();

    int ncclSend(
        Pointer from, long count, int type, int peer, Pointer communicator, Pointer stream);

    int ncclRecv(Pointer to, long count, int type, int peer, Pointer communicator, Pointer stream);

    int ncclAllReduce(
        Pointer from,
        Pointer to,
        long count,
        int type,
        int operation,
        Pointer communicator,
        Pointer stream);

    String ncclGetErrorString(int result);

    String ncclGetLastError(Pointer communicator);
  }

  /** For tests. */
  Nccl(Calls calls, int version) {
    this.calls = calls;
    this.version = version;
  }

  private Nccl() {
    String file = library(CudaLibraries.ofThisProcess()).getFile().toString();
    calls = Native.load(file, Calls.class);
    IntByReference found = new IntByReference();
    check(calls.ncclGetVersion(found), "ncclGetVersion", "of " + file);
    version = found.getValue();
    if (version < OLDEST) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "NCCL %s was found (%s) and %s or later is needed; install a newer one, or set"
                  + " spark.hetermoe.exchange=network",
              text(version), file, text(OLDEST)));
    }
  }

  static NativeLibrary library(CudaLibraries libraries) {
    return libraries.open(
        "Rows that pass from GPU to GPU need NCCL",
        List.of(FILE),
        "install NVIDIA's NCCL (the package libnccl2, or the PyPI wheel nvidia-nccl-cu13 or"
            + " nvidia-nccl-cu12, as the driver's CUDA is; cu12 for compute capability 7.0) and"
            + " name the folder of "
            + FILE
            + " in the executors' "
            + CudaLibraries.VARIABLE
            + " or -D"
            + CudaLibraries.PROPERTY
            + ", or set spark.hetermoe.exchange=network");
  }

  /** {@code MISSING} where there is none that can be used. */
  static synchronized Nccl open() {
    if (opened == null) {
      opened = new Nccl();
    }
    return opened;
  }

  Calls calls() {
    return calls;
  }

  /** As NCCL numbers itself, such as 22800. */
  int version() {
    return version;
  }

  /** 22807 as {@code 2.28.7}. */
  static String text(int version) {
    return version / 10_000 + "." + version / 100 % 100 + "." + version % 100;
  }

  /**
   * Throws unless the call succeeded or goes on by itself.
   *
   * @param context communicator, ranks and sizes
   */
  void check(int result, String call, String context) {
    if (result != SUCCESS && result != IN_PROGRESS) {
      throw failed(result, call, context);
    }
  }

  MixedGpuException failed(int result, String call, String context) {
    return new MixedGpuException(
        Fault.MISSING,
        String.format(
            "%s failed with %d (%s): %s; NCCL says '%s'; NCCL_DEBUG=INFO in the executors'"
                + " environment tells more, and spark.hetermoe.exchange=network does without",
            call, result, calls.ncclGetErrorString(result), context, calls.ncclGetLastError(null)));
  }

  /**
   * ncclConfig_t of NCCL 2.18 for a communicator whose calls return at once. Later versions take
   * the shorter record and use their defaults for the rest.
   *
   * @param mostBlocks of a kernel; 0 for NCCL's own choice
   */
  static Memory nonBlocking(int mostBlocks) {
    int unset = Integer.MIN_VALUE;
    Memory config = new Memory(48);
    config.setLong(0, 48);
    config.setInt(8, 0xCAFEBEEF);
    config.setInt(12, OLDEST);
    config.setInt(16, 0); // not blocking
    // Clusters of blocks would wait until several neighbours are free on a GPU that is busy.
    config.setInt(20, mostBlocks > 0 ? 0 : unset); // cgaClusterSize
    config.setInt(24, unset); // minCTAs
    config.setInt(28, mostBlocks > 0 ? mostBlocks : unset); // maxCTAs
    config.setPointer(32, null); // netName
    config.setInt(40, unset); // splitShare
    config.setInt(44, unset); // padding, which later versions use
    return config;
  }
}

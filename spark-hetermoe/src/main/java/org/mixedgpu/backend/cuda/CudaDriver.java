package org.mixedgpu.backend.cuda;

import com.sun.jna.NativeLibrary;
import java.io.IOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLockInterruptionException;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** NVIDIA's driver in this process: opened once, and what its error codes mean. */
final class CudaDriver {
  static final String LIBRARY = "libcuda.so.1";

  /** The first driver with stream-ordered memory whose CUDA 12 libraries work: CUDA 12.0's. */
  private static final int OLDEST = 12_000;

  private static int version;

  private CudaDriver() {}

  /** {@code MISSING} where the driver's library cannot be opened. */
  static void require(String library) {
    try {
      NativeLibrary.getInstance(library);
    } catch (UnsatisfiedLinkError e) {
      // Without the cause: JNA's text has the whole class path in it.
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "The CUDA backend needs %s, which comes with NVIDIA's driver and was not found on"
                  + " this machine (LD_LIBRARY_PATH is %s); install the driver, or use the backend"
                  + " cpu",
              library, System.getenv("LD_LIBRARY_PATH")));
    }
  }

  /**
   * Initialises the driver, which {@link #require} has found; {@code MISSING} where it has no
   * device.
   *
   * @return the version of CUDA that the driver supports, such as 13000
   */
  static synchronized int open() {
    if (version != 0) {
      return version;
    }
    loadJCuda(Path.of(System.getProperty("java.io.tmpdir")));
    check(JCudaDriver.cuInit(0), "cuInit", "initialising the driver of this machine");
    int[] found = new int[1];
    check(JCudaDriver.cuDriverGetVersion(found), "cuDriverGetVersion", "of " + LIBRARY);
    if (found[0] < OLDEST) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "The CUDA backend needs a driver for CUDA 12.0 or later (525 or later); the one of"
                  + " this machine supports CUDA %s; update the driver, or use the backend cpu",
              text(found[0])));
    }
    version = found[0];
    return version;
  }

  /**
   * JCuda unpacks its native library there without a lock of its own; so one process of this user
   * does it at a time.
   */
  static void loadJCuda(Path temporary) {
    String user = System.getProperty("user.name").replaceAll("[^A-Za-z0-9._-]", "_");
    Path file = temporary.resolve("mixedgpu-jcuda-" + user + ".lock");
    try (FileChannel channel =
        FileChannel.open(
            file, StandardOpenOption.CREATE, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS)) {
      // Until the channel is closed.
      channel.lock();
      // Any call makes the class load its library.
      JCudaDriver.setExceptionsEnabled(false);
    } catch (ClosedByInterruptException | FileLockInterruptionException e) {
      Thread.currentThread().interrupt();
      throw new MixedGpuException(Fault.MISSING, "Interrupted while loading JCuda", e);
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "Cannot lock %s to unpack JCuda's library there: %s; set -Djava.io.tmpdir to a folder"
                  + " that can be written",
              file, e),
          e);
    } catch (UnsatisfiedLinkError | NoClassDefFoundError e) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "Cannot load JCuda's native library: %s; check that org.jcuda:jcuda-natives for this"
                  + " platform is on the class path and that %s can be written and is not mounted"
                  + " noexec, or set -Djava.io.tmpdir",
              e.getMessage(), System.getProperty("java.io.tmpdir")),
          e);
    }
  }

  /** 12060 as {@code 12.6}. */
  static String text(int cudaVersion) {
    return cudaVersion / 1000 + "." + cudaVersion % 1000 / 10;
  }

  /**
   * File names of a CUDA library, best first. A library newer than the driver would load and then
   * fail; CUDA 13's no longer know cards before 7.5.
   */
  static List<String> libraries(String name, int driverVersion, int arch) {
    String twelve = "lib" + name + ".so.12";
    boolean thirteen = driverVersion >= 13_000 && arch >= 75;
    return thirteen ? List.of("lib" + name + ".so.13", twelve) : List.of(twelve);
  }

  static void check(int result, String call, String context) {
    if (result != CUresult.CUDA_SUCCESS) {
      throw failed(result, call, context);
    }
  }

  /**
   * The exception for a failed call.
   *
   * @param context device, what was asked for and sizes
   */
  static MixedGpuException failed(int result, String call, String context) {
    String[] name = {null};
    String[] text = {null};
    JCudaDriver.cuGetErrorName(result, name);
    JCudaDriver.cuGetErrorString(result, text);
    return new MixedGpuException(
        fault(result),
        String.format(
            "%s failed with %s (%d, %s): %s%s",
            call,
            name[0] == null ? "an unknown error" : name[0],
            result,
            text[0] == null ? "no text" : text[0],
            context,
            next(result)));
  }

  private static Fault fault(int result) {
    switch (result) {
      case CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        return Fault.EXHAUSTED;
      case CUresult.CUDA_ERROR_NO_DEVICE:
      case CUresult.CUDA_ERROR_INVALID_DEVICE:
      case CUresult.CUDA_ERROR_STUB_LIBRARY:
      case CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU:
      case CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
      case CUresult.CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
      case CUresult.CUDA_ERROR_SYSTEM_NOT_READY:
        return Fault.MISSING;
      case CUresult.CUDA_ERROR_ECC_UNCORRECTABLE:
        return Fault.CORRUPT;
      default:
        return Fault.BUG;
    }
  }

  /** What to do about it. */
  static String next(int result) {
    switch (result) {
      case CUresult.CUDA_ERROR_ILLEGAL_ADDRESS:
      case CUresult.CUDA_ERROR_LAUNCH_FAILED:
      case CUresult.CUDA_ERROR_LAUNCH_TIMEOUT:
      case CUresult.CUDA_ERROR_ASSERT:
      case CUresult.CUDA_ERROR_HARDWARE_STACK_ERROR:
      case CUresult.CUDA_ERROR_ILLEGAL_INSTRUCTION:
      case CUresult.CUDA_ERROR_MISALIGNED_ADDRESS:
      case CUresult.CUDA_ERROR_ECC_UNCORRECTABLE:
        return "; this op or an earlier one on the device broke it for this process, which must be"
            + " restarted";
      case CUresult.CUDA_ERROR_OUT_OF_MEMORY:
        return "; use smaller batches, or free the GPU of other processes (nvidia-smi)";
      case CUresult.CUDA_ERROR_NO_DEVICE:
        return "; check nvidia-smi and CUDA_VISIBLE_DEVICES, or use the backend cpu";
      case CUresult.CUDA_ERROR_INVALID_DEVICE:
        return "; choose a GPU that nvidia-smi -L lists and that CUDA_VISIBLE_DEVICES does not"
            + " hide, or use the backend cpu";
      default:
        return "";
    }
  }
}

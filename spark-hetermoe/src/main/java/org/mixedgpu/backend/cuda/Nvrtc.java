package org.mixedgpu.backend.cuda;

import com.sun.jna.Library;
import com.sun.jna.Native;
import com.sun.jna.NativeLibrary;
import com.sun.jna.Pointer;
import com.sun.jna.ptr.IntByReference;
import com.sun.jna.ptr.LongByReference;
import com.sun.jna.ptr.PointerByReference;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/** NVIDIA's compiler for kernels, of CUDA 12 or 13. It needs no GPU. */
final class Nvrtc {
  /** The calls in use, as NVRTC's documentation has them; each returns 0 for success. */
  interface Calls extends Library {
    int nvrtcVersion(IntByReference major, IntByReference minor);

    String nvrtcGetErrorString(int result);

    int nvrtcGetNumSupportedArchs(IntByReference count);

    int nvrtcGetSupportedArchs(int[] archs);

    int nvrtcCreateProgram(
        PointerByReference program,
        String source,
        String name,
        int headers,
        Pointer headerTexts,
        Pointer headerNames);

    int nvrtcDestroyProgram(PointerByReference program);

    int nvrtcCompileProgram(Pointer program, int options, String[] texts);

    int nvrtcGetProgramLogSize(Pointer program, LongByReference bytes);

    int nvrtcGetProgramLog(Pointer program, byte[] log);

    int nvrtcGetCUBINSize(Pointer program, LongByReference bytes);

    int nvrtcGetCUBIN(Pointer program, byte[] cubin);

    int nvrtcGetPTXSize(Pointer program, LongByReference bytes);

    int nvrtcGetPTX(Pointer program, byte[] ptx);
  }

  private static final int BUILTIN_OPERATION_FAILURE = 7;

  private final String file;
  private final Calls calls;
  private final String version;

  /** Kept open; null where it is not beside or can't be opened. */
  private final NativeLibrary builtins;

  Nvrtc(NativeLibrary library) {
    this.file = library.getFile().toString();
    this.calls = Native.load(file, Calls.class);
    IntByReference major = new IntByReference();
    IntByReference minor = new IntByReference();
    check(calls.nvrtcVersion(major, minor), "nvrtcVersion", file);
    this.version = major.getValue() + "." + minor.getValue();
    // It opens this one by its name alone at the first compilation. CUDA 13's wheel does not say
    // that it lies in the same folder; what is open already is found.
    Path beside = Path.of(file).resolveSibling("libnvrtc-builtins.so." + version);
    this.builtins = Files.exists(beside) ? open(beside) : null;
  }

  /** Null where it can't be: the first compilation says so, and there may be none. */
  private static NativeLibrary open(Path file) {
    try {
      return NativeLibrary.getInstance(file.toString());
    } catch (UnsatisfiedLinkError e) {
      return null;
    }
  }

  /** Such as {@code 12.9}. */
  String version() {
    return version;
  }

  /** The oldest compute capability that it compiles for, times ten. */
  int lowestArch() {
    return Arrays.stream(archs()).min().orElseThrow();
  }

  /**
   * {@code MISSING} where it does not compile for this compute capability.
   *
   * @param arch the capability times ten, such as 90
   * @param device that has it, for the message
   */
  void require(int arch, Object device) {
    int[] archs = archs();
    if (Arrays.stream(archs).noneMatch(known -> known == arch)) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "%s needs kernels for sm_%d; NVRTC %s of %s compiles for %s; install a newer CUDA"
                  + " toolkit that the driver supports, or name the folder of one in %s or -D%s,"
                  + " or use the backend cpu",
              device,
              arch,
              version,
              file,
              Arrays.toString(archs),
              CudaLibraries.VARIABLE,
              CudaLibraries.PROPERTY));
    }
  }

  private int[] archs() {
    IntByReference count = new IntByReference();
    check(calls.nvrtcGetNumSupportedArchs(count), "nvrtcGetNumSupportedArchs", version);
    int[] archs = new int[count.getValue()];
    check(calls.nvrtcGetSupportedArchs(archs), "nvrtcGetSupportedArchs", version);
    return archs;
  }

  /**
   * Machine code for the architecture that the options name, PTX where the source is portable;
   * {@code BUG} with the compiler's log, {@code MISSING} where it lacks its own library.
   */
  byte[] compile(KernelSource source) {
    PointerByReference handle = new PointerByReference();
    check(
        calls.nvrtcCreateProgram(handle, source.text(), source.file() + ".cu", 0, null, null),
        "nvrtcCreateProgram",
        source.file());
    Pointer program = handle.getValue();
    try {
      String[] options = source.options().toArray(new String[0]);
      int result = calls.nvrtcCompileProgram(program, options.length, options);
      if (result != 0) {
        if (result == BUILTIN_OPERATION_FAILURE) {
          throw new MixedGpuException(
              Fault.MISSING,
              String.format(
                  "NVRTC %s of %s can't be used: %s; install libnvrtc-builtins.so.%s, which comes with"
                      + " it, in its folder%s, or name the folder of another CUDA toolkit in %s or"
                      + " -D%s",
                  version,
                  file,
                  log(program),
                  version,
                  builtins == null ? ", where it is missing or can't be opened" : "",
                  CudaLibraries.VARIABLE,
                  CudaLibraries.PROPERTY));
        }
        throw new MixedGpuException(
            Fault.BUG,
            String.format(
                "NVRTC %s cannot compile %s.cu with %s: %s%n%s",
                version,
                source.file(),
                source.options(),
                calls.nvrtcGetErrorString(result),
                log(program)));
      }
      return source.isPortable() ? ptx(program, source) : cubin(program, source);
    } finally {
      calls.nvrtcDestroyProgram(handle);
    }
  }

  private byte[] cubin(Pointer program, KernelSource source) {
    LongByReference size = new LongByReference();
    check(calls.nvrtcGetCUBINSize(program, size), "nvrtcGetCUBINSize", source.file());
    byte[] cubin = new byte[Math.toIntExact(size.getValue())];
    check(calls.nvrtcGetCUBIN(program, cubin), "nvrtcGetCUBIN", source.file());
    return cubin;
  }

  private byte[] ptx(Pointer program, KernelSource source) {
    LongByReference size = new LongByReference();
    check(calls.nvrtcGetPTXSize(program, size), "nvrtcGetPTXSize", source.file());
    byte[] ptx = new byte[Math.toIntExact(size.getValue())];
    check(calls.nvrtcGetPTX(program, ptx), "nvrtcGetPTX", source.file());
    return ptx;
  }

  private String log(Pointer program) {
    LongByReference size = new LongByReference();
    check(calls.nvrtcGetProgramLogSize(program, size), "nvrtcGetProgramLogSize", "");
    byte[] log = new byte[Math.toIntExact(size.getValue())];
    check(calls.nvrtcGetProgramLog(program, log), "nvrtcGetProgramLog", "");
    return new String(log, StandardCharsets.UTF_8).replace("\0", "").strip();
  }

  private void check(int result, String call, String context) {
    if (result != 0) {
      throw new MixedGpuException(
          Fault.BUG,
          String.format(
              "%s failed with %s (%d): %s",
              call, calls.nvrtcGetErrorString(result), result, context));
    }
  }
}

package org.mixedgpu.backend.cuda;

import com.sun.jna.NativeLibrary;
import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Finds CUDA's libraries, of CUDA 12 or 13: in the folders of {@code mixedgpu.cuda.path} (a system
 * property) or {@code MIXEDGPU_CUDA_PATH} (an environment variable), in those of {@code CUDA_HOME}
 * and {@code CUDA_PATH}, where the loader looks ({@code LD_LIBRARY_PATH}), and in {@code
 * /usr/local/cuda}.
 */
final class CudaLibraries {
  static final String PROPERTY = "mixedgpu.cuda.path";
  static final String VARIABLE = "MIXEDGPU_CUDA_PATH";

  private final List<Path> folders;
  private final Function<String, NativeLibrary> opener;

  CudaLibraries(String property, Map<String, String> environment) {
    this(folders(property, environment), NativeLibrary::getInstance);
  }

  /** For tests. */
  CudaLibraries(List<Path> folders, Function<String, NativeLibrary> opener) {
    this.folders = List.copyOf(folders);
    this.opener = opener;
  }

  static CudaLibraries ofThisProcess() {
    return new CudaLibraries(System.getProperty(PROPERTY), System.getenv());
  }

  /**
   * Opens the first of these that can be opened; {@code MISSING} when none can.
   *
   * @param what for messages, such as {@code NVRTC}
   * @param names file names, best first, such as {@code libnvrtc.so.12}
   */
  NativeLibrary open(String what, List<String> names) {
    return open(
        "The CUDA backend needs " + what,
        names,
        "install the CUDA toolkit, or name the folder in "
            + VARIABLE
            + " or -D"
            + PROPERTY
            + ", or use the backend cpu");
  }

  /**
   * Opens the first of these that can be opened; {@code MISSING} when none can.
   *
   * @param need who needs what, for messages
   * @param advice what to do where there is none, for messages
   */
  NativeLibrary open(String need, List<String> names, String advice) {
    List<String> tried = new ArrayList<>();
    for (String name : names) {
      for (Path folder : folders) {
        Path file = folder.resolve(name);
        if (Files.exists(file)) {
          NativeLibrary library = attempt(file.toString(), tried);
          if (library != null) {
            return library;
          }
        }
      }
      NativeLibrary library = attempt(name, tried);
      if (library != null) {
        return library;
      }
    }
    throw new MixedGpuException(
        Fault.MISSING,
        String.format(
            "%s and found neither of %s in %s nor where the loader looks (%s); %s",
            need, names, folders, String.join("; ", tried), advice));
  }

  private NativeLibrary attempt(String name, List<String> tried) {
    try {
      return opener.apply(name);
    } catch (UnsatisfiedLinkError e) {
      tried.add(firstLine(e.getMessage()));
      return null;
    }
  }

  private static String firstLine(String message) {
    return message.lines().findFirst().orElse("").strip();
  }

  static List<Path> folders(String property, Map<String, String> environment) {
    List<Path> found = new ArrayList<>();
    for (String list : new String[] {property, environment.get(VARIABLE)}) {
      if (list != null) {
        for (String folder : list.split(File.pathSeparator)) {
          addWithLibraries(found, folder);
        }
      }
    }
    addWithLibraries(found, environment.get("CUDA_HOME"));
    addWithLibraries(found, environment.get("CUDA_PATH"));
    addWithLibraries(found, "/usr/local/cuda");
    return found;
  }

  /** A folder of libraries, or of an installation that has them below. */
  private static void addWithLibraries(List<Path> found, String folder) {
    if (folder != null && !folder.isBlank()) {
      Path path = Path.of(folder.strip());
      found.add(path);
      found.add(path.resolve("lib64"));
      found.add(path.resolve("lib"));
      found.add(path.resolve("targets/x86_64-linux/lib"));
    }
  }
}

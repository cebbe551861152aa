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
 * Finds CUDA's libraries, of CUDA 12 or 13: in the folders that are named, one after the other, by
 * {@code mixedgpu.cuda.path} (a system property), {@code MIXEDGPU_CUDA_PATH} (an environment
 * variable), {@code CUDA_HOME} and {@code CUDA_PATH}; else the best there is where the loader looks
 * ({@code LD_LIBRARY_PATH}) and in {@code /usr/local/cuda}.
 */
final class CudaLibraries {
  static final String PROPERTY = "mixedgpu.cuda.path";
  static final String VARIABLE = "MIXEDGPU_CUDA_PATH";
  private static final List<Path> USUAL = withLibraries("/usr/local/cuda");

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
    for (String file : candidates(names)) {
      NativeLibrary library = attempt(file, tried);
      if (library != null) {
        return library;
      }
    }
    throw new MixedGpuException(
        Fault.MISSING,
        String.format(
            "%s and found neither of %s in %s, where the loader looks, or in %s (%s); %s",
            need, names, folders, USUAL, String.join("; ", tried), advice));
  }

  /** What exists, and plain names for the loader. */
  private List<String> candidates(List<String> names) {
    List<String> files = new ArrayList<>();
    for (Path folder : folders) {
      // What a user names wins, even where a better one is elsewhere.
      names.forEach(name -> addExisting(files, folder.resolve(name)));
    }
    for (String name : names) {
      files.add(name);
      USUAL.forEach(folder -> addExisting(files, folder.resolve(name)));
    }
    return files;
  }

  private static void addExisting(List<String> files, Path file) {
    if (Files.exists(file)) {
      files.add(file.toString());
    }
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
          found.addAll(withLibraries(folder));
        }
      }
    }
    found.addAll(withLibraries(environment.get("CUDA_HOME")));
    found.addAll(withLibraries(environment.get("CUDA_PATH")));
    return found;
  }

  /** A folder of libraries, or of an installation that has them below; none for a blank. */
  private static List<Path> withLibraries(String folder) {
    if (folder == null || folder.isBlank()) {
      return List.of();
    }
    Path path = Path.of(folder.strip());
    return List.of(
        path, path.resolve("lib64"), path.resolve("lib"), path.resolve("targets/x86_64-linux/lib"));
  }
}

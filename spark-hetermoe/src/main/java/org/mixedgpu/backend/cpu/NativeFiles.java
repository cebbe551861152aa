package org.mixedgpu.backend.cpu;

import com.sun.jna.NativeLibrary;
import java.io.IOException;
import java.io.InputStream;
import java.net.JarURLConnection;
import java.net.URL;
import java.net.URLConnection;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Locale;
import java.util.zip.CRC32;
import java.util.zip.CheckedInputStream;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Puts the native BLAS of the class path where the loader can open it: in a directory of this user
 * under {@code java.io.tmpdir}, named by the file's checksum, so that it is written once per
 * version.
 */
final class NativeFiles {
  /** In the order in which they need each other. */
  private static final String[] FILES = {
    "libquadmath.so.0", "libgfortran.so.5", "libopenblas.so.0"
  };

  private NativeFiles() {}

  static NativeLibrary openBlas() {
    String folder = "org/bytedeco/openblas/" + platform() + "/";
    NativeLibrary last = null;
    for (String file : FILES) {
      try {
        last = NativeLibrary.getInstance(place(folder + file, file).toString());
      } catch (UnsatisfiedLinkError | IOException e) {
        throw new MixedGpuException(
            Fault.MISSING,
            String.format(
                "Cannot load %s for the CPU backend: %s; check that %s can be written and is not"
                    + " mounted noexec, or set -Djava.io.tmpdir",
                file, e.getMessage(), System.getProperty("java.io.tmpdir")),
            e);
      }
    }
    return last;
  }

  /** Operating system and processor as the names of the jars have them. */
  static String platform() {
    String os = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    String arch = System.getProperty("os.arch").toLowerCase(Locale.ROOT);
    String system = os.startsWith("linux") ? "linux" : os.startsWith("mac") ? "macosx" : "windows";
    boolean intel = arch.equals("amd64") || arch.equals("x86_64");
    return system + "-" + (intel ? "x86_64" : arch.equals("aarch64") ? "arm64" : arch);
  }

  static Path place(String resource, String file) throws IOException {
    URL url = NativeFiles.class.getClassLoader().getResource(resource);
    if (url == null) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "The CPU backend needs %s, which is not on the class path; add the artifact"
                  + " org.bytedeco:openblas with classifier %s (spark-submit --packages or --jars)",
              resource, platform()));
    }
    URLConnection connection = url.openConnection();
    long size = connection.getContentLengthLong();
    long crc = connection instanceof JarURLConnection jar ? jar.getJarEntry().getCrc() : size;
    Path target = directory().resolve(String.format("%08x-%d", crc, size)).resolve(file);
    if (Files.exists(target) && Files.size(target) == size) {
      return target;
    }
    Files.createDirectories(target.getParent());
    // Other JVMs may do the same now: each writes a file of its own, and the rename is atomic.
    Path temporary = Files.createTempFile(target.getParent(), file, ".tmp");
    CRC32 check = new CRC32();
    try (InputStream in = new CheckedInputStream(connection.getInputStream(), check)) {
      Files.copy(in, temporary, StandardCopyOption.REPLACE_EXISTING);
      if (connection instanceof JarURLConnection && check.getValue() != crc) {
        throw new IOException("its checksum is not the jar's");
      }
      Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
    } finally {
      Files.deleteIfExists(temporary);
    }
    return target;
  }

  /** Only this user may write there: a file that others can replace must not be loaded. */
  private static Path directory() throws IOException {
    String user = System.getProperty("user.name");
    Path directory = Path.of(System.getProperty("java.io.tmpdir"), "mixedgpu-" + user);
    boolean posix = directory.getFileSystem().supportedFileAttributeViews().contains("posix");
    try {
      if (posix) {
        Files.createDirectory(
            directory,
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
      } else {
        Files.createDirectory(directory);
      }
    } catch (FileAlreadyExistsException e) {
      boolean ours =
          !posix || Files.getOwner(directory, LinkOption.NOFOLLOW_LINKS).getName().equals(user);
      if (!ours || !Files.isDirectory(directory, LinkOption.NOFOLLOW_LINKS)) {
        throw new IOException(directory + " exists and is not a directory of " + user, e);
      }
    }
    return directory;
  }
}

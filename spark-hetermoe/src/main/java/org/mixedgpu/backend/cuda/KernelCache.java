package org.mixedgpu.backend.cuda;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.function.Supplier;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Compiled kernels on disk, for the next process of this user. A file's name is the SHA-256 of all
 * that its contents follow from; the file is the SHA-256 of the cubin, then the cubin. A file that
 * is damaged is compiled again; one that cannot be written is only missed.
 */
final class KernelCache {
  private static final Logger LOG = LoggerFactory.getLogger(KernelCache.class);

  private static final int DIGEST_BYTES = 32;

  private final Path folder;
  private final String compiler;

  /**
   * @param compiler name and version
   */
  KernelCache(Path folder, String compiler) {
    this.folder = folder;
    this.compiler = compiler;
  }

  /** A folder that this user alone can write, made where it does not exist. */
  static Path folder(Path asked) {
    Path folder = asked != null ? asked : ofThisUser();
    try {
      if (!Files.isDirectory(folder)) {
        Files.createDirectories(folder.toAbsolutePath().getParent());
        createPrivate(folder);
      }
      return folder;
    } catch (IOException e) {
      throw new MixedGpuException(
          Fault.MISSING,
          String.format(
              "Cannot make %s, where compiled kernels are kept: %s; name another cache folder or"
                  + " set XDG_CACHE_HOME",
              folder, e),
          e);
    }
  }

  private static void createPrivate(Path folder) throws IOException {
    if (folder.getFileSystem().supportedFileAttributeViews().contains("posix")) {
      Files.createDirectories(
          folder,
          PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    } else {
      Files.createDirectories(folder);
    }
  }

  private static Path ofThisUser() {
    String cache = System.getenv("XDG_CACHE_HOME");
    Path base =
        cache != null && !cache.isBlank()
            ? Path.of(cache)
            : Path.of(System.getProperty("user.home"), ".cache");
    return base.resolve("mixedgpu").resolve("kernels");
  }

  /** The cubin of this source, from disk or from the compiler. */
  byte[] get(KernelSource source, Supplier<byte[]> compile) {
    Path file = folder.resolve(key(source) + ".cubin");
    byte[] found = read(file);
    if (found != null) {
      return found;
    }
    long start = System.nanoTime();
    byte[] cubin = compile.get();
    LOG.debug(
        "Compiled {}.cu with {} for {} in {} ms",
        source.file(),
        compiler,
        source.options(),
        (System.nanoTime() - start) / 1_000_000);
    write(file, cubin);
    return cubin;
  }

  /** Changes with whatever changes the cubin. */
  String key(KernelSource source) {
    MessageDigest digest = sha256();
    for (String part :
        new String[] {compiler, String.join("\n", source.options()), source.text()}) {
      byte[] bytes = part.getBytes(StandardCharsets.UTF_8);
      digest.update(ByteBuffer.allocate(Integer.BYTES).putInt(bytes.length).flip());
      digest.update(bytes);
    }
    return source.file() + "-" + HexFormat.of().formatHex(digest.digest());
  }

  /** Null where there is none, or a damaged one. */
  private static byte[] read(Path file) {
    byte[] bytes;
    try {
      bytes = Files.readAllBytes(file);
    } catch (NoSuchFileException e) {
      return null;
    } catch (IOException e) {
      LOG.warn("Cannot read compiled kernel {}: {}; compiling it", file, e.toString());
      return null;
    }
    if (bytes.length > DIGEST_BYTES) {
      byte[] cubin = Arrays.copyOfRange(bytes, DIGEST_BYTES, bytes.length);
      byte[] digest = Arrays.copyOf(bytes, DIGEST_BYTES);
      if (MessageDigest.isEqual(sha256().digest(cubin), digest)) {
        return cubin;
      }
    }
    LOG.warn("Compiled kernel {} is damaged; compiling it again", file);
    return null;
  }

  private void write(Path file, byte[] cubin) {
    try {
      Path temporary = Files.createTempFile(folder, "new", ".tmp");
      try {
        byte[] digest = sha256().digest(cubin);
        byte[] bytes = Arrays.copyOf(digest, DIGEST_BYTES + cubin.length);
        System.arraycopy(cubin, 0, bytes, DIGEST_BYTES, cubin.length);
        Files.write(temporary, bytes);
        move(temporary, file);
      } finally {
        Files.deleteIfExists(temporary);
      }
    } catch (IOException e) {
      LOG.warn(
          "Cannot keep compiled kernel {}: {}; the next process compiles it", file, e.toString());
    }
  }

  private static void move(Path from, Path to) throws IOException {
    try {
      Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
    } catch (AtomicMoveNotSupportedException e) {
      // The checksum finds a file that another process sees half written.
      Files.move(from, to, StandardCopyOption.REPLACE_EXISTING);
    }
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new MixedGpuException(Fault.BUG, "This JVM has no SHA-256", e);
    }
  }
}

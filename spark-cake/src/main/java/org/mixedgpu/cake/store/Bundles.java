package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.zip.CRC32C;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileEntry;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.RangeReader;

/** A cache folder as its operator sees it: all bundles of all models. */
public final class Bundles {
  private Bundles() {}

  /**
   * One bundle.
   *
   * @param layout what it was written for; empty if the index can't be read
   * @param chunks as the index says
   * @param problem why it can't be used; null if it can
   */
  public record Bundle(
      String path,
      long bytes,
      String layout,
      int chunkTokens,
      List<StoredChunk> chunks,
      String problem) {
    public long tokens() {
      return (long) chunks.size() * chunkTokens;
    }
  }

  /** Every bundle in the folder, by name; reads the indexes only. */
  public static List<Bundle> list(FileStore files, String cachePath) {
    return files.list(cachePath).stream()
        .filter(f -> f.name().endsWith(BundleStore.SUFFIX))
        .map(f -> bundle(files, f))
        .collect(Collectors.toList());
  }

  private static Bundle bundle(FileStore files, FileEntry entry) {
    try (RangeReader file = files.open(entry.path())) {
      BundleIndex index = BundleIndex.read(file);
      return new Bundle(
          entry.path(),
          file.size(),
          index.description(),
          index.chunkTokens(),
          index.chunks(),
          null);
    } catch (RuntimeException e) {
      return new Bundle(
          entry.path(), entry.bytes(), "", 0, List.of(), String.valueOf(e.getMessage()));
    }
  }

  /**
   * What is wrong with a bundle.
   *
   * @param damaged whether its bytes are not what was written; else they could not be read, and may
   *     be all right
   */
  public record Problem(boolean damaged, String text) {}

  /**
   * Reads a whole bundle; empty if every byte is as it was written, else the first difference.
   * Needs memory for one chunk.
   */
  public static Optional<Problem> verify(FileStore files, String path) {
    try (RangeReader file = files.open(path)) {
      BundleIndex index = BundleIndex.read(file);
      ByteBuffer buffer =
          ByteBuffer.allocate(
              Math.max(
                  index.headBytes(),
                  index.chunks().stream().mapToInt(StoredChunk::length).max().orElse(0)));
      checkSum(file, 0, index.headBytes(), index.headCrc(), buffer);
      for (StoredChunk chunk : index.chunks()) {
        checkSum(file, chunk.offset(), chunk.length(), chunk.crc(), buffer);
      }
      return Optional.empty();
    } catch (RuntimeException e) {
      boolean damaged = e instanceof MixedGpuException f && f.fault() == Fault.CORRUPT;
      return Optional.of(new Problem(damaged, MixedGpuException.describe(e)));
    }
  }

  private static void checkSum(
      RangeReader file, long at, int bytes, int expected, ByteBuffer into) {
    file.readFully(at, into.clear().limit(bytes));
    CRC32C crc = new CRC32C();
    crc.update(into.flip());
    Check.intact(
        (int) crc.getValue() == expected,
        "%s: the checksum of bytes [%d,+%d) does not match",
        file.path(),
        at,
        bytes);
  }
}

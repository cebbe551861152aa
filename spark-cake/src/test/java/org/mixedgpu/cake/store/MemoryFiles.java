package org.mixedgpu.cake.store;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;
import org.mixedgpu.io.FileEntry;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.NewFile;
import org.mixedgpu.io.RangeReader;

/** Files in memory, to be damaged at will. */
public final class MemoryFiles implements FileStore {
  public final Map<String, byte[]> contents = new ConcurrentSkipListMap<>();

  /** Reads of this many bytes from now on fail; counts down. */
  public final AtomicInteger failingReads = new AtomicInteger();

  public final AtomicInteger reads = new AtomicInteger();

  /** Readers that are open. */
  public final AtomicInteger open = new AtomicInteger();

  /** Are told the path first. */
  public volatile Consumer<String> beforeOpen = path -> {};

  public volatile Consumer<String> beforeRead = path -> {};

  /** Writes beyond this many fail. */
  public int writesLeft = Integer.MAX_VALUE;

  @Override
  public RangeReader open(String path) {
    beforeOpen.accept(path);
    byte[] bytes = contents.get(path);
    if (bytes == null) {
      throw new MixedGpuException(Fault.MISSING, "no file " + path);
    }
    open.incrementAndGet();
    return new RangeReader() {
      @Override
      public String path() {
        return path;
      }

      @Override
      public long size() {
        return bytes.length;
      }

      @Override
      public void readFully(long position, ByteBuffer into) {
        beforeRead.accept(path);
        reads.incrementAndGet();
        if (failingReads.getAndUpdate(n -> Math.max(0, n - 1)) > 0) {
          throw new MixedGpuException(Fault.EXHAUSTED, "injected: read");
        }
        Check.intact(
            position >= 0 && into.remaining() <= bytes.length - position, "%s ends before", path);
        into.put(bytes, (int) position, into.remaining());
      }

      @Override
      public void close() {
        open.decrementAndGet();
      }
    };
  }

  @Override
  public NewFile create(String path) {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    return new NewFile() {
      @Override
      public String path() {
        return path;
      }

      @Override
      public long position() {
        return out.size();
      }

      @Override
      public int write(ByteBuffer from) {
        if (writesLeft-- <= 0) {
          throw new MixedGpuException(Fault.EXHAUSTED, "injected: disk full");
        }
        byte[] bytes = new byte[from.remaining()];
        from.get(bytes);
        out.writeBytes(bytes);
        return bytes.length;
      }

      @Override
      public boolean publish() {
        return contents.putIfAbsent(path, out.toByteArray()) == null;
      }

      @Override
      public boolean isOpen() {
        return true;
      }

      @Override
      public void close() {}
    };
  }

  @Override
  public List<FileEntry> list(String folder) {
    return contents.entrySet().stream()
        .filter(e -> e.getKey().startsWith(folder + "/"))
        .map(
            e ->
                new FileEntry(
                    e.getKey(), e.getKey().substring(folder.length() + 1), e.getValue().length, 0))
        .collect(Collectors.toList());
  }

  @Override
  public OptionalLong size(String path) {
    byte[] bytes = contents.get(path);
    return bytes == null ? OptionalLong.empty() : OptionalLong.of(bytes.length);
  }

  @Override
  public boolean delete(String path) {
    return contents.remove(path) != null;
  }
}

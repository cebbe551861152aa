package org.mixedgpu.io;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.OptionalLong;
import java.util.SortedMap;
import java.util.TreeMap;
import org.mixedgpu.base.Check;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Files in memory, for tests. Paths are plain text with slashes. One operation can be made to fail:
 * {@link #failAt} counts open, create, write, publish, list, size, delete and read calls; {@link
 * #fired} says how often it happened, so that a test can prove that its fault was real.
 */
public final class MemoryFileStore implements FileStore {
  /** Published files, for tests to look at and to damage. */
  public final SortedMap<String, byte[]> files = Collections.synchronizedSortedMap(new TreeMap<>());

  /** Faults that happened. */
  public volatile int fired;

  private int operations;
  private int failAt = -1;
  private Fault fault = Fault.MISSING;
  private boolean afterwards;

  /** The n-th operation from now on, 0 the next one, fails before it does anything. */
  public synchronized void failAt(int n, Fault as) {
    operations = 0;
    failAt = n;
    fault = as;
    afterwards = false;
    fired = 0;
  }

  /**
   * The n-th operation takes effect and then fails all the same, as a rename that times out: only
   * publishing and deleting differ from {@link #failAt}.
   */
  public synchronized void failAfter(int n, Fault as) {
    failAt(n, as);
    afterwards = true;
  }

  /** Operations since the last {@link #failAt}. */
  public synchronized int operations() {
    return operations;
  }

  private synchronized boolean counts(String operation, String path, boolean lateAllowed) {
    boolean now = operations++ == failAt;
    if (!now) {
      return false;
    }
    fired++;
    if (afterwards && lateAllowed) {
      return true;
    }
    throw injected(operation, path);
  }

  private MixedGpuException injected(String operation, String path) {
    return new MixedGpuException(fault, "injected: " + operation + " " + path);
  }

  @Override
  public RangeReader open(String path) {
    Check.input(!path.isEmpty(), "Path '%s' has no name", path);
    counts("open", path, false);
    Check.input(!isFolder(path), "Cannot read %s: it is a folder; name a file", path);
    byte[] content = files.get(path);
    if (content == null) {
      throw new MixedGpuException(Fault.MISSING, "Cannot read " + path + ": there is no such file");
    }
    return new Reader(path, content);
  }

  @Override
  public NewFile create(String path) {
    counts("create", path, false);
    return new Writer(path);
  }

  @Override
  public List<FileEntry> list(String folder) {
    counts("list", folder, false);
    Check.input(!files.containsKey(folder), "Cannot list %s: it is a file", folder);
    List<FileEntry> entries = new ArrayList<>();
    synchronized (files) {
      files.forEach(
          (path, content) -> {
            String name = path.substring(path.lastIndexOf('/') + 1);
            if (path.equals(FileStore.in(folder, name))) {
              entries.add(new FileEntry(path, name, content.length, 1));
            }
          });
    }
    return entries;
  }

  @Override
  public OptionalLong size(String path) {
    counts("size", path, false);
    byte[] content = files.get(path);
    return content == null ? OptionalLong.empty() : OptionalLong.of(content.length);
  }

  @Override
  public boolean delete(String path) {
    boolean late = counts("delete", path, true);
    Check.input(!isFolder(path), "Cannot delete %s: it is a folder", path);
    boolean deleted = files.remove(path) != null;
    if (late) {
      throw injected("delete", path);
    }
    return deleted;
  }

  private boolean isFolder(String path) {
    synchronized (files) {
      return files.keySet().stream().anyMatch(file -> file.startsWith(path + "/"));
    }
  }

  private final class Reader implements RangeReader {
    private final String path;
    private final byte[] content;

    Reader(String path, byte[] content) {
      this.path = path;
      this.content = content;
    }

    @Override
    public String path() {
      return path;
    }

    @Override
    public long size() {
      return content.length;
    }

    @Override
    public void readFully(long position, ByteBuffer into) {
      counts("read", path, false);
      Check.input(position >= 0, "Cannot read %s at the negative position %d", path, position);
      Check.intact(
          position <= content.length - into.remaining(),
          "%s has %d bytes; %d at %d were to be read",
          path,
          content.length,
          into.remaining(),
          position);
      into.put(content, (int) position, into.remaining());
    }

    @Override
    public void close() {}
  }

  private final class Writer implements NewFile {
    private final String path;
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private boolean open = true;

    Writer(String path) {
      this.path = path;
    }

    @Override
    public String path() {
      return path;
    }

    @Override
    public long position() {
      return out.size();
    }

    @Override
    public boolean isOpen() {
      return open;
    }

    @Override
    public int write(ByteBuffer from) {
      counts("write", path, false);
      int count = from.remaining();
      while (from.hasRemaining()) {
        out.write(from.get());
      }
      return count;
    }

    @Override
    public boolean publish() {
      boolean late = counts("publish", path, true);
      open = false;
      boolean published = files.putIfAbsent(path, out.toByteArray()) == null;
      if (late) {
        throw injected("publish", path);
      }
      return published;
    }

    @Override
    public void close() {
      open = false;
    }
  }
}

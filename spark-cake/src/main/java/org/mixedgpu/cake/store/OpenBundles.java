package org.mixedgpu.cake.store;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.mixedgpu.io.FileStore;
import org.mixedgpu.io.RangeReader;

/**
 * Bundles open for the next chunk. A forgotten one is closed by the last of its readers, so that a
 * read which hangs holds up neither reads of others nor {@link #close}. Any thread.
 */
final class OpenBundles implements AutoCloseable {
  /** Beyond this many all are forgotten. */
  private static final int MAX_OPEN = 256;

  private final FileStore files;
  private final Map<String, Handle> handles = new HashMap<>();

  OpenBundles(FileStore files) {
    this.files = files;
  }

  /** Who uses it is under the lock of all; its own lock is held while it opens, which may hang. */
  private static final class Handle {
    private int users;
    private boolean forgotten;
    private RangeReader reader;

    synchronized RangeReader reader(FileStore files, String bundle) {
      if (reader == null) {
        reader = files.open(bundle);
      }
      return reader;
    }

    synchronized void close() {
      try (RangeReader last = reader) {
        reader = null;
      } catch (RuntimeException e) {
        // What was read is checked, and what could not be read has failed already.
      }
    }
  }

  void readFully(String bundle, long position, ByteBuffer into) {
    Handle handle = take(bundle);
    try {
      handle.reader(files, bundle).readFully(position, into);
    } finally {
      giveBack(handle);
    }
  }

  private synchronized Handle take(String bundle) {
    Handle handle = handles.computeIfAbsent(bundle, b -> new Handle());
    handle.users++;
    return handle;
  }

  private void giveBack(Handle handle) {
    boolean last;
    boolean full;
    synchronized (this) {
      last = --handle.users == 0 && handle.forgotten;
      full = handles.size() > MAX_OPEN;
    }
    if (last) {
      handle.close();
    }
    if (full) {
      close();
    }
  }

  /** The next read opens the bundle anew. */
  void forget(String bundle) {
    Handle unused;
    synchronized (this) {
      unused = unused(handles.remove(bundle));
    }
    if (unused != null) {
      unused.close();
    }
  }

  /** Marks it forgotten; null where somebody else will close it. */
  private static Handle unused(Handle handle) {
    if (handle == null) {
      return null;
    }
    handle.forgotten = true;
    return handle.users == 0 ? handle : null;
  }

  /** Forgets all; reads that come later open anew. */
  @Override
  public void close() {
    List<Handle> unused = new ArrayList<>();
    synchronized (this) {
      for (Handle handle : handles.values()) {
        if (unused(handle) != null) {
          unused.add(handle);
        }
      }
      handles.clear();
    }
    unused.forEach(Handle::close);
  }
}

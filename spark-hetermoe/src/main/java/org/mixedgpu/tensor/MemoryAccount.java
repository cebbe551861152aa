package org.mixedgpu.tensor;

import java.util.Comparator;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.mixedgpu.base.Fault;
import org.mixedgpu.base.MixedGpuException;

/**
 * Who has how many bytes of one memory: counts allocations up to a limit, exactly as asked for, and
 * names those that were not closed. Any thread may call.
 */
public final class MemoryAccount {
  private static final StackWalker WALKER = StackWalker.getInstance();

  private final String name;
  private final long limitBytes;
  private final Set<Entry> open = ConcurrentHashMap.newKeySet();
  private long bytes;
  private long peakBytes;
  private long scratchBytes;
  private long allocations;
  private boolean closed;

  /**
   * @param name whose memory this is, for messages
   * @param limitBytes most bytes open at one time, scratch memory included
   */
  public MemoryAccount(String name, long limitBytes) {
    this.name = name;
    this.limitBytes = limitBytes;
  }

  /** Counts a tensor's bytes; {@code EXHAUSTED} when they do not fit the limit. */
  public synchronized Entry open(DType type, Shape shape) {
    long size = Math.multiplyExact(shape.elements(), type.bytes());
    String what = type + shape.toString();
    if (closed) {
      throw new MixedGpuException(
          Fault.BUG, "Cannot allocate " + what + ": " + name + " is closed");
    }
    if (size > limitBytes - scratchBytes - bytes) {
      throw exhausted(what, size);
    }
    bytes += size;
    peakBytes = Math.max(peakBytes, bytes);
    Entry entry = new Entry(++allocations, size, what, origin());
    open.add(entry);
    return entry;
  }

  /** Whether the entry was open; it no longer is. */
  public synchronized boolean close(Entry entry) {
    if (!open.remove(entry)) {
      return false;
    }
    bytes -= entry.bytes;
    return true;
  }

  /**
   * Counts memory that ops use beside tensors, or gives it back where negative. It falls under the
   * limit and is not part of {@link #bytes}.
   */
  public synchronized void scratch(String what, long more) {
    if (more > limitBytes - scratchBytes - bytes) {
      throw exhausted(what, more);
    }
    scratchBytes += more;
  }

  private MixedGpuException exhausted(String what, long size) {
    String scratch =
        scratchBytes == 0 ? "" : String.format(" and %d bytes of scratch memory", scratchBytes);
    return new MixedGpuException(
        Fault.EXHAUSTED,
        String.format(
            "Cannot allocate %s (%d bytes) in %s: %d of %d bytes are in use by %d tensors%s;"
                + " raise the memory limit or use smaller batches",
            what, size, name, bytes, limitBytes, open.size(), scratch));
  }

  /** Bytes of open tensors. */
  public synchronized long bytes() {
    return bytes;
  }

  /** The most bytes of tensors open at one time. */
  public synchronized long peakBytes() {
    return peakBytes;
  }

  public long limitBytes() {
    return limitBytes;
  }

  /** Tensors open. */
  public int tensors() {
    return open.size();
  }

  public String name() {
    return name;
  }

  /**
   * Opens nothing more. {@code BUG} with number, bytes and origin if tensors are still open.
   *
   * @return false where it was closed before
   */
  public boolean close() {
    MixedGpuException leak = null;
    synchronized (this) {
      if (closed) {
        return false;
      }
      closed = true;
      Entry first = open.stream().min(Comparator.comparingLong(a -> a.order)).orElse(null);
      if (first != null) {
        leak =
            new MixedGpuException(
                Fault.BUG,
                String.format(
                    "%s is closed with %d tensors still open, %d bytes; the first is %s, allocated"
                        + " at %s; close it before the backend",
                    name, open.size(), bytes, first.what, first.origin));
      }
    }
    if (leak != null) {
      throw leak;
    }
    return true;
  }

  /** Who asked: the first caller that is not itself an {@code allocate}, on behalf of others. */
  private static StackWalker.StackFrame origin() {
    return WALKER.walk(
        frames ->
            frames
                .filter(
                    frame ->
                        !frame.getMethodName().equals("allocate")
                            && !frame.getClassName().equals(MemoryAccount.class.getName()))
                .findFirst()
                .orElse(null));
  }

  /** One tensor's memory. */
  public static final class Entry {
    private final long order;
    private final long bytes;
    private final String what;
    private final StackWalker.StackFrame origin;

    private Entry(long order, long bytes, String what, StackWalker.StackFrame origin) {
      this.order = order;
      this.bytes = bytes;
      this.what = what;
      this.origin = origin;
    }

    public long bytes() {
      return bytes;
    }

    /** Type and shape, such as {@code F32[3, 5]}. */
    public String what() {
      return what;
    }
  }
}
